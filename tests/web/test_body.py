"""The limits of a body, for a reader that has none of its own."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.support.waiting import PATIENCE
from web import body
from web.body import BATCH_FACTOR, LimitBodies
from web.problems import Problem

PIECE = 1 << 18


async def call(reader: "Reader", receive: Receive, *, max_payload_bytes: int = 256) -> None:
    async def send(message: Message) -> None:
        pass

    await LimitBodies(reader, max_payload_bytes)({"type": "http"}, receive, send)


class Reader:
    """Reads a body to its end, as an error tracker does; first responds, if it ``responds``."""

    def __init__(self, *, responds: bool = False) -> None:
        self.read = 0
        self.left = False
        self._responds = responds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._responds:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            self.read += len(message.get("body", b""))
            self.left = message["type"] == "http.disconnect"
            more = message.get("more_body", False)


@pytest.mark.parametrize("max_payload_bytes", [256, 1 << 18])
def test_an_endless_body_is_413_wherever_it_is_read(max_payload_bytes: int) -> None:
    reader = Reader()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * PIECE, "more_body": reader.read < 100 * PIECE}

    with pytest.raises(Problem) as refused:
        asyncio.run(call(reader, receive, max_payload_bytes=max_payload_bytes))
    most = max(1 << 20, max_payload_bytes * BATCH_FACTOR)
    assert (refused.value.status_code, reader.read) == (413, most)
    assert str(most) in refused.value.detail


def test_the_deadline_is_for_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.2)

    async def receive() -> Message:
        await asyncio.sleep(0.02)  # each piece in time, the end never
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(Problem) as refused:
        asyncio.run(asyncio.wait_for(call(Reader(), receive), PATIENCE))
    assert (refused.value.status_code, refused.value.headers) == (408, {"Connection": "close"})


def test_a_stream_waits_for_its_client_without_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.0)

    async def receive() -> Message:
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    reader = Reader(responds=True)
    asyncio.run(call(reader, receive))
    assert reader.left

"""Event streams over real sockets, and the fan-out by itself where a client must stand still."""

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from lockstep.embedded import EmbeddedRedis
from lockstep.settings import Settings
from tests.support.waiting import PATIENCE, wait_for
from tests.web.client import Client, assert_problem
from tests.web.wire import Wire
from web import events, feed, protocol
from web.events import EventStream
from web.feed import Feed, Reading
from web.server import listen, make_server

PATH = "/api/v1/events"
READY = {"web": {"ready": 1}}
MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}


class Stream:
    """What one client hears: comments and events, one after the other."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def block(self) -> dict[str, str]:
        """The next one, its fields by name; a comment is the field without a name."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        raise EOFError

    def event(self, name: str = "status") -> tuple[int, Any]:
        """Id and data of the next event, which must have this name."""
        while "event" not in (fields := self.block()):
            pass
        assert fields["event"] == name
        return int(fields.get("id", 0)), json.loads(fields["data"])

    def settled(self) -> tuple[int, Any]:
        """The first snapshot in which this web process is ready: from there on, nothing changes by itself."""
        while (event := self.event())[1]["processes"] != READY:
            pass
        return event


class Served:
    """An application on a port, and its clients."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.feed: Feed = client.app.state.context.feed
        listener = listen("127.0.0.1", 0)
        self.http = httpx.Client(
            base_url=f"http://localhost:{listener.getsockname()[1]}", trust_env=False, timeout=PATIENCE
        )
        self.server = make_server(client.app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    @contextmanager
    def stream(self, **headers: str) -> Iterator[Stream]:
        with self.http.stream(
            "GET", PATH, headers={k.replace("_", "-"): v for k, v in headers.items()}
        ) as one:
            assert one.status_code == 200
            assert one.headers["content-type"].startswith("text/event-stream")
            assert (one.headers["cache-control"], one.headers["x-accel-buffering"]) == ("no-cache", "no")
            yield Stream(one)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.http.close()


@pytest.fixture
def served(client: Client) -> Iterator[Served]:
    served = Served(client)
    yield served
    served.stop()


def requests_counted(http: httpx.Client) -> int:
    return http.get("/metrics").text.count(
        f'lockstep_http_requests_total{{method="GET",route="{PATH}",status="200"}} 1.0'
    )


def test_a_stream_tells_what_changed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.2)
    with served.stream() as stream:
        assert stream.block() == {"retry": "1000"}
        first, data = stream.settled()
        assert data == {
            "queues": [],
            "intake": {"accept": True, "since": None, "why": None},
            "processes": READY,
        }
        assert stream.block() == {"": "keep-alive"}
        assert requests_counted(served.http) == 1  # while it is open: its end says nothing about an answer

        served.http.post("/api/v1/messages", json=MAIL)
        second, data = stream.event()
        assert second > first
        assert data["queues"] == [
            {
                **served.http.get("/api/v1/queues").json()["items"][0],
                "oldest_seconds": data["queues"][0]["oldest_seconds"],
            }
        ]
        assert data["queues"][0]["messages"]["waiting"] == 1
        served.http.put("/api/v1/intake", json={"accept": False, "why": "night"})
        assert stream.event()[1]["intake"]["why"] == "night"
        served.http.post("/api/v1/queues/mail/pause")
        _, last = stream.event()
        assert last["queues"][0]["paused"] is True  # and not before: its age alone is no news
    assert requests_counted(served.http) == 1


def test_a_client_comes_again(served: Served) -> None:
    with served.stream() as stream:
        known, data = stream.settled()
        with served.stream(last_event_id=str(known)) as again:
            later, same = again.event()
        assert (later > known, same) == (True, data)
        with served.stream(last_event_id=str(known + 10**9)) as ahead:  # of another clock
            assert ahead.event()[1] == data
    wait_for("nobody is left", lambda: served.feed.reading is None)
    tried = served.feed.count
    with served.stream() as stream:
        assert stream.event()[0] > known
    assert served.feed.count == tried + 1  # read at once, and by nobody while nobody listened
    for wrong in ("soon", "-1", "1" * 17):
        assert_problem(served.http.get(PATH, headers={"last-event-id": wrong}))


def test_places_are_bounded_and_given_back(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_STREAMS", 2)
    assert served.http.head(PATH).headers["content-type"].startswith("text/event-stream")
    with served.stream() as one, served.stream() as other:
        assert one.settled()[1] == other.settled()[1]
        refused = served.http.get(PATH)
        assert_problem(refused)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    wait_for("their places are free", lambda: served.http.head(PATH) and not served.feed.full)
    with served.stream() as stream:
        stream.event()


def test_streams_end_in_order_when_the_process_stops(served: Served) -> None:
    with served.stream() as stream:
        stream.event()
        served.server.should_exit = True
        with pytest.raises(EOFError):  # the end of the answer, not of the connection
            stream.block()
    served.thread.join(PATIENCE)
    assert not served.thread.is_alive()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel does not do it")
def test_a_client_that_takes_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read() -> Reading:
        return Reading(served.feed.count, {"queues": [], "number": served.feed.count, "padding": "x" * 2**20})

    monkeypatch.setattr(protocol, "STALLED_MS", 300)
    monkeypatch.setattr(feed, "INTERVAL", 0.01)
    monkeypatch.setattr(served.feed, "_read", read)
    with Wire(served.http.base_url.port or 0) as wire:
        wire.send(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for("it is heard", lambda: served.feed.reading is not None)
        wait_for("it is cut off", lambda: served.feed.reading is None)


def test_a_process_that_drains_sends_clients_on(served: Served) -> None:
    served.feed.close()
    with served.stream() as stream:
        assert stream.block() == {"retry": "1000"}
        with pytest.raises(EOFError):
            stream.block()


def test_redis_goes_and_comes_back(
    settings: Settings, lonely_redis: EmbeddedRedis, make_client: Callable[[Settings], Client]
) -> None:
    served = Served(make_client(replace(settings, redis_url=lonely_redis.url)))
    directory, port = lonely_redis._directory, lonely_redis.port
    try:
        with served.stream() as stream:
            stream.settled()
            assert lonely_redis.pid
            os.kill(lonely_redis.pid, signal.SIGKILL)
            assert stream.event("redis") == (0, {"up": False})
            with served.stream() as late:
                assert late.event("redis") == (0, {"up": False})
                lonely_redis.stop()
                lonely_redis.start(directory, port)
                assert stream.event("redis") == late.event("redis") == (0, {"up": True})
                assert late.event()[1]["queues"] == []
    finally:
        served.stop()


def test_a_slow_client_holds_up_nobody_and_gets_the_last() -> None:
    async def main() -> None:
        number = 0

        async def read() -> Reading:
            nonlocal number
            number += 1
            return Reading(number, {"queues": [], "number": number})

        shared = Feed(read)
        heard: dict[str, list[bytes]] = {"slow": [], "quick": []}
        go_on = asyncio.Event()

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def client(name: str) -> None:
            async def send(message: Any) -> None:
                heard[name].append(message.get("body", b""))
                if name == "slow" and b"status" in heard[name][-1]:
                    await go_on.wait()

            await EventStream(shared, 0)({"type": "http"}, receive, send)

        clients = [asyncio.create_task(client(name)) for name in heard]
        async with asyncio.timeout(30):
            while len(heard["quick"]) < 6:
                await asyncio.sleep(0.01)
            assert [body for body in heard["slow"] if body][1:] == [
                Reading(1, {"queues": [], "number": 1}).frame
            ]
            go_on.set()
            while len(heard["slow"]) < 4:
                await asyncio.sleep(0.01)
            assert heard["slow"][3] in heard["quick"][5:]  # what came in between is not sent any more
            shared.close()
            await asyncio.gather(*clients)
        assert heard["slow"][-1] == heard["quick"][-1] == b""

    interval, feed.INTERVAL = feed.INTERVAL, 0.05
    try:
        asyncio.run(main())
    finally:
        feed.INTERVAL = interval


def test_a_defect_ends_the_streams_and_the_next_one_tries_again() -> None:
    async def main() -> None:
        tries = 0

        async def read() -> Reading:
            nonlocal tries
            tries += 1
            raise ValueError("a defect")

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None: ...

        shared = Feed(read)
        for expected in (1, 2):
            async with asyncio.timeout(30):
                await EventStream(shared, 0)({"type": "http"}, receive, send)
            assert tries == expected

    asyncio.run(main())

"""``GET /api/v1/events``: server-sent events, a snapshot of the fleet whenever it has changed."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from web.context import Context
from web.feed import Feed, Reading
from web.problems import Problem

#: Seconds of silence after which a comment is sent, so that proxies keep the connection.
KEEP_ALIVE: Final = 15.0

#: What a client waits before it comes again, milliseconds.
_RETRY: Final = b"retry: 1000\n\n"

#: Seconds after which one may come again for whom there is no place.
_RETRY_AFTER: Final = "5"

#: Digits of an id.
_DIGITS: Final = 16

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    # Who comes again after the end must find another process, not this one by its old connection.
    "Connection": "close",
}


async def stream(request: Request) -> Response:
    """A stream that goes on until the client leaves or this process stops."""
    feed, seen_ms = Context.of(request).feed, _last_id(request)
    if request.method == "HEAD":
        return Response(headers=_HEADERS)
    if feed.full:
        raise Problem(503, "This process serves no more event streams.", {"Retry-After": _RETRY_AFTER})
    request.scope["lockstep.endless"] = True
    return EventStream(feed, seen_ms)


class EventStream(Response):
    """Tells one client what is new in a feed, for as long as both are there."""

    def __init__(self, feed: Feed, seen_ms: int) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._feed = feed
        self._seen_ms = seen_ms
        # Redis was asked after the client came, whatever its clock says: that is news in any case.
        self._fresh_from = feed.count + 2
        self._version: int | None = None
        self._up: bool | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream; returns when the client has left, or all was said."""
        with self._feed.listen():
            tasks = {asyncio.create_task(self._write(send)), asyncio.create_task(_gone(receive))}
            try:
                # A client that takes nothing holds up its own task only, which ends with its connection.
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        clock = asyncio.get_running_loop().time
        text = _RETRY
        while True:
            if text:
                await send({"type": "http.response.body", "body": text, "more_body": True})
                spoken = clock()
            if self._feed.over:
                break
            news = self._feed.news
            text = self._new()
            if not text:
                try:
                    async with asyncio.timeout_at(spoken + KEEP_ALIVE):
                        await news.wait()
                except TimeoutError:
                    text = b": keep-alive\n\n"
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _new(self) -> bytes:
        """What this client has not heard; empty: nothing."""
        feed, text = self._feed, b""
        if feed.up is not None and feed.up is not self._up:
            if not (feed.up and self._up is None):  # that it is there goes without saying at the beginning
                text = b'event: redis\ndata: {"up":%s}\n\n' % (b"true" if feed.up else b"false")
            self._up = feed.up
        if (
            feed.up
            and feed.reading is not None
            and feed.version != self._version
            and self._is_news(feed.reading)
        ):
            self._version = feed.version
            text += feed.reading.frame
        return text

    def _is_news(self, reading: Reading) -> bool:
        """A client that comes from another process, which read later than this one, waits for the next reading."""
        return reading.ms > self._seen_ms or self._feed.count >= self._fresh_from


def _last_id(request: Request) -> int:
    given = request.headers.get("last-event-id", "").strip()
    if not given:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= _DIGITS):
        raise Problem(400, "The header Last-Event-ID must be the id of an event of this stream.")
    return int(given)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

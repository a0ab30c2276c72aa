"""What the event streams of this process show: the fleet, read once a second for all of them, while anybody listens."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from lockstep import logs
from lockstep.errors import RedisUnavailable

#: Seconds between two readings.
INTERVAL: Final = 1.0

#: Streams that one process serves at once.
MAX_STREAMS: Final = 256

_log = logs.get_logger("lockstep.web")


@dataclass(frozen=True)
class Reading:
    """The fleet at one moment."""

    ms: int  #: the server's clock, from before the rest was read: what happens later shows in a later reading
    data: dict[str, Any]

    @cached_property
    def lasting(self) -> dict[str, Any]:
        """What counts as a change: all but ages, which grow by themselves."""
        queues = [
            {**one, "oldest_seconds": None, "claimers": [*one["claimers"]]} for one in self.data["queues"]
        ]
        return {**self.data, "queues": queues}

    @cached_property
    def frame(self) -> bytes:
        """The event as it is sent; encoded once for all clients."""
        data = json.dumps(self.data, separators=(",", ":"))
        return f"id: {self.ms}\nevent: status\ndata: {data}\n\n".encode("ascii")


class Feed:
    """The last reading, for any number of streams; used in the event loop only.

    A stream looks whenever it has time, and finds only the last reading: a slow one misses some and holds up nobody.
    """

    def __init__(self, read: Callable[[], Awaitable[Reading]]) -> None:
        self.reading: Reading | None = None  #: the last one; None: nobody listened until now
        self.version = 0  #: rises with each reading that differs from the one before
        self.count = 0  #: readings that were tried
        self.up: bool | None = None  #: whether Redis answered the last one; None: it was not asked yet
        self.news = (
            asyncio.Event()
        )  #: set, and replaced by another, after each reading; take it before looking
        self._closed = False
        self._read = read
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no further stream may listen."""
        return self._listeners >= MAX_STREAMS

    @property
    def over(self) -> bool:
        """Whether streams should end: the process stops, or a defect ended the reading."""
        return self._closed or (self._reader is not None and self._reader.done())

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Read for as long as the block, or that of another stream, runs."""
        self._listeners += 1
        if not self._closed and (self._reader is None or self._reader.done()):
            self._reader = asyncio.get_running_loop().create_task(self._read_on())
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._stop()

    def close(self) -> None:
        """End all streams, and those that come, at once: the process stops."""
        self._closed = True
        self._stop()
        self._tell()

    def _stop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
        self.reading = self.up = None  # the next listener must not take it for news

    async def _read_on(self) -> None:
        try:
            while True:
                try:
                    self._take(await self._read())
                except RedisUnavailable:
                    self.up = False
                self.count += 1
                self._tell()
                await asyncio.sleep(INTERVAL)
        except Exception:
            _log.critical(
                "events.failed", exc_info=True
            )  # all streams end; a client that comes again starts anew
            self._tell()

    def _take(self, reading: Reading) -> None:
        if self.reading is None or reading.lasting != self.reading.lasting:
            self.version += 1
        self.reading, self.up = reading, True

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

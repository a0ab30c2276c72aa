"""What every handler works with, and how it calls Redis without holding up the others."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from starlette.requests import Request

from lockstep.broker import LockstepBroker
from lockstep.errors import RedisUnavailable
from lockstep.settings import Settings
from web.draining import Draining
from web.feed import Feed
from web.in_flight import InFlight
from web.recorder import Recorder

T = TypeVar("T")

#: Calls to Redis at once; each is a thread that mostly waits.
THREADS: Final = 16

#: Seconds within which a client hears that Redis is away, when REDIS_TIMEOUT is not shorter.
ANSWER_SECONDS: Final = 1.6


class Threads:
    """Runs blocking calls in a few threads and answers within a deadline."""

    def __init__(self, seconds: float, *, size: int = THREADS) -> None:
        self._seconds = seconds
        self._executor = ThreadPoolExecutor(size, "lockstep-web")

    async def run(self, call: Callable[[], T]) -> T:
        """Answer what ``call`` returns.

        Raises:
          RedisUnavailable: the deadline passed. A call that had not started never will; one that had may
            still succeed.
        """
        future = self._executor.submit(contextvars.copy_context().run, call)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise RedisUnavailable("Redis did not answer in time") from None

    def close(self) -> None:
        """Start nothing more and wait for what runs: at most REDIS_TIMEOUT."""
        self._executor.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Context:
    """The parts that handlers share."""

    broker: LockstepBroker
    settings: Settings
    threads: Threads
    feed: Feed  #: what event streams show
    recorder: Recorder = field(default_factory=Recorder)
    in_flight: InFlight = field(default_factory=InFlight)
    draining: Draining = field(default_factory=Draining)

    @classmethod
    def of(cls, request: Request) -> "Context":
        """The context of the application that this request came to."""
        context = request.app.state.context
        assert isinstance(context, cls)
        return context

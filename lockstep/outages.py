"""Which shards of a queue fail now, and when each is tried again: the others are claimed from meanwhile."""

import time
from dataclasses import dataclass
from typing import Final

from lockstep import logs
from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.exchange import Exchange

#: Seconds until a shard is tried again: after its first failure, and at most.
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 0.5

#: The same of a shard that does not answer at all: each try makes the other shards wait for a time-out.
_SILENT_SECONDS: Final = 0.5
_SILENT_DELAY: Final = 2.0

_log = logs.get_logger("lockstep.consumer")


@dataclass(slots=True)
class _Outage:
    since: float  #: ``time.monotonic()`` of the first failure
    retry_at: float  #: ``time.monotonic()`` of the next try
    delay: float


class Outages:
    """The shards of one queue that fail; used by one thread. Falsy while there are none."""

    def __init__(self, queue: str, shards: int) -> None:
        self._queue, self._shards = queue, shards
        self._failing: dict[Exchange, _Outage] = {}

    def __len__(self) -> int:
        return len(self._failing)

    def __contains__(self, exchange: object) -> bool:
        return exchange in self._failing

    def resting(self, exchange: Exchange, now: float) -> bool:
        """Return whether a shard that failed must not be tried yet."""
        outage = self._failing.get(exchange)
        return outage is not None and now < outage.retry_at

    def next_try(self, now: float) -> float:
        """Return when the next shard that rests is tried again; infinity if none rests."""
        return min(
            (one.retry_at for one in self._failing.values() if one.retry_at > now), default=float("inf")
        )

    def began(self, exchange: Exchange, error: RedisUnavailable | ScriptFailed, asked_at: float) -> None:
        """Note that a shard failed, with ``time.monotonic()`` of the try."""
        now = time.monotonic()
        outage = self._failing.get(exchange)
        if outage is None:
            outage = self._failing[exchange] = _Outage(now, now, 0.0)
            if isinstance(error, ScriptFailed):
                _log.critical(
                    "script.failed", queue=self._queue, shard=exchange.shard.shard, error=str(error)
                )
            else:
                _log.error("redis.lost", queue=self._queue, shard=exchange.shard.shard, error=str(error))
        others_wait = len(self._failing) < self._shards and now - asked_at > _SILENT_SECONDS
        longest = _SILENT_DELAY if others_wait else _LONGEST_DELAY
        outage.delay = min(longest, outage.delay * 2 or _FIRST_DELAY)
        outage.retry_at = now + outage.delay

    def ended(self, exchange: Exchange) -> None:
        """Note that a shard answered."""
        outage = self._failing.pop(exchange, None)
        if outage is not None:
            seconds = round(time.monotonic() - outage.since, 3)
            _log.info("redis.back", queue=self._queue, shard=exchange.shard.shard, seconds=seconds)

"""Removes finished records whose retention has ended, at once; what the reapers do by and by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockstep.calls import Calls

#: Records of a kind that one call removes.
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Removed:
    """How many records went."""

    done: int = 0
    cancelled: int = 0
    dead: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.done + other.done, self.cancelled + other.cancelled, self.dead + other.dead)

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.cancelled + self.dead


class Retention:
    """Ends the retention of finished messages."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def cleanup(
        self,
        queue: str | None = None,
        *,
        age_ms: int | None = None,
        progress: Callable[[Removed], None] = lambda removed: None,
    ) -> Removed:
        """Remove what is older than ``age_ms`` (else RETENTION_DONE_AGE), or too many; dead letters by their own age.

        Works in batches; ``progress`` hears of each. If the process dies between two, the rest is removed by the next
        call, or by the reapers.

        Raises:
          NotFound: there is no such queue.
        """
        settings = self._calls.settings
        if queue is not None:
            self._calls.check_queue(queue)
        if age_ms is None:
            age_ms = int(settings.retention_done_age * 1000)
        dead_ms = int(settings.retention_dead_age * 1000)
        arguments = [age_ms, settings.retention_done_count, dead_ms, _BATCH]
        removed = Removed()
        for name in self._calls.queues() if queue is None else [queue]:
            for shard in self._calls.shards(name):
                while (batch := Removed(*self._calls.run("cleanup", shard, arguments))).total:
                    removed += batch
                    progress(removed)
        return removed

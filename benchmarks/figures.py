"""The figures: what each is called, in which unit, and what it must reach."""

from dataclasses import dataclass
from typing import Final

#: Key of the figures that are measured for each number of groups.
GROUPS: Final = (1000, 10, 10_000)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report."""

    key: str
    label: str
    digits: int = 0
    least: float | None = None  #: what Lockstep must reach; None: it is only told
    aim: float | None = None
    ratio: bool = False  #: the targets are multiples of plain Dramatiq, more is better; else less is
    total: bool = False  #: all rounds are added up, for what must never happen

    def met(self, value: float, target: float) -> bool:
        """Whether ``value`` (a multiple, where the targets are) reaches ``target``."""
        if self.ratio:
            return value >= target
        return value <= target if self.total else value < target


def rate_key(groups: int) -> str:
    """The key of the drain rate with so many groups."""
    return f"drained_per_second_{groups}_groups"


FIGURES: Final = (
    Figure(rate_key(1000), "drained a second, 1,000 groups", least=3, aim=5, ratio=True),
    Figure(rate_key(10), "drained a second, 10 groups", least=2, aim=4, ratio=True),
    Figure(rate_key(10_000), "drained a second, 10,000 groups", least=3, aim=4, ratio=True),
    Figure("latency_p50_ms", "idle latency p50, ms", 2, least=2, aim=1.2),
    Figure("latency_p99_ms", "idle latency p99, ms", 2, least=8, aim=4),
    Figure("redis_cpu_ms_drained", "Redis CPU for 1,000 drained, ms", 1, least=40, aim=20),
    Figure("redis_cpu_ms_enqueued", "Redis CPU for 1,000 enqueued one by one, ms", 1, least=75, aim=50),
    Figure("bytes_waiting", "bytes of Redis for a waiting message", least=900, aim=500),
    Figure("idle_commands_per_second", "commands a second of an idle worker process", 1, least=5, aim=2),
    Figure("enqueued_per_second", "enqueued a second, one by one"),
    Figure("enqueued_per_second_batch", "enqueued a second, 1,000 in a call"),
    Figure("order_violations", "order violations", least=0, aim=0, total=True),
    Figure("lost", "lost messages", least=0, aim=0, total=True),
    Figure("extra_runs", "unexplained second runs", least=0, aim=0, total=True),
)

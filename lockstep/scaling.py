"""How many workers there should be: a hint to whoever starts and stops them. ``docs/scaling.md`` has the formula."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lockstep.calls import Calls
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.records import QueueCounts
from lockstep.roles import Role, owner_of
from lockstep.states import GroupState, MessageState

#: Seconds within which what waits should have run, as far as groups allow.
TARGET_SECONDS: Final = 30.0

#: How busy threads should be, at most.
BUSY_AT_MOST: Final = 0.8

#: Workers stay as they are while those wanted are more than this part of them.
KEEP_ABOVE: Final = 0.7

#: Attempts that last so long are told exactly by the leases: a process claims no more of them than it has threads.
LONG_SECONDS: Final = 1.0

_SOON_MS: Final = 60_000
_NOTE_MS: Final = 10_000
_STALE_MS: Final = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one queue asks for."""

    queue: str
    depth: int  #: messages that wait, those whose time has come included
    due_soon: int  #: groups in back-off and scheduled messages that fall due within a minute
    ready: int  #: groups that could run now; none of a queue that is paused
    running: int  #: groups that are claimed
    oldest_ms: int | None  #: age of the head that has been ready longest; None: none, or the queue is paused
    rate: float | None = None  #: attempts that ended, a second; None: not known yet
    mean: float | None = None  #: seconds that one ran; None: not known, or none ended

    @property
    def useful(self) -> int:
        """Threads that could run something now: a group runs one message at a time, however deep it is."""
        return self.ready + self.running

    @property
    def threads(self) -> float:
        """Threads that it wants."""
        if self.mean is None:
            needed, load = float(self.ready), float(self.running)
        else:
            needed = self.depth * self.mean / TARGET_SECONDS
            short = self.mean < LONG_SECONDS and self.rate is not None
            load = min(self.running, self.rate * self.mean) if short and self.rate else float(self.running)
        return min(self.useful, max(needed, load / BUSY_AT_MOST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """How many workers of a role there should be."""

    role: Role
    queues: tuple[Demand, ...]
    workers: int  #: that there are, without those that stop
    capacity: int  #: threads of those
    busy: int  #: messages that run in them
    threads_wanted: float
    workers_wanted: int


def hint(role: Role, demands: Sequence[Demand], records: Sequence[ProcessRecord], each: int) -> Hint:
    """The hint for one role.

    Args:
      role: ``all``, or one whose own queues the demands are.
      demands: of its queues.
      records: of its worker processes.
      each: threads of a worker where there is none to ask.
    """
    serving = [one for one in records if one.state is not ProcessState.DRAINING]
    workers = len({(one.host, one.master_pid) for one in serving})
    capacity = sum(one.capacity for one in serving)
    threads = sum(one.threads for one in demands)
    late = [one for one in demands if (one.oldest_ms or 0) > TARGET_SECONDS * 1000]
    if late:  # whatever the numbers say, there are too few
        threads = max(threads, min(sum(one.useful for one in demands), capacity / BUSY_AT_MOST))
    wanted = math.ceil(threads * workers / capacity if capacity else threads / each)
    if any(one.depth or one.due_soon or one.running for one in demands):
        wanted = max(1, wanted)
    if KEEP_ABOVE * workers < wanted < workers:
        wanted = workers
    return Hint(
        role=role,
        queues=tuple(demands),
        workers=workers,
        capacity=capacity,
        busy=sum(one.busy for one in serving),
        threads_wanted=threads,
        workers_wanted=wanted,
    )


class Scaling:
    """The part of the store that gives hints. Raises and threads: see ``Calls``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def demand(self, counts: QueueCounts) -> Demand:
        """What a queue asks for; the question is noted, so that a later one knows how fast it goes."""
        replies = [
            self._calls.run("demand", shard, [_SOON_MS, _NOTE_MS, _STALE_MS])
            for shard in self._calls.shards(counts.queue)
        ]
        due, _, runs, run_us = (sum(column) for column in zip(*replies, strict=True))
        seconds = max(reply[1] for reply in replies) / 1000
        return Demand(
            queue=counts.queue,
            depth=counts.messages[MessageState.WAITING],
            due_soon=due,
            ready=0 if counts.paused else counts.groups[GroupState.READY],
            running=counts.groups[GroupState.LEASED],
            oldest_ms=None if counts.paused else counts.oldest_ms,
            rate=runs / seconds if seconds else None,
            mean=run_us / 1_000_000 / runs if runs else None,
        )

    def hints(self, counts: Iterable[QueueCounts], records: Iterable[ProcessRecord]) -> list[Hint]:
        """The hint for all workers, then that for each role that has a queue or a worker of its own."""
        settings = self._calls.settings
        each = settings.worker_processes * settings.worker_concurrency
        demands = [self.demand(one) for one in counts]
        workers = [one for one in records if one.type is ProcessType.WORKER]
        found = [hint(Role.ALL, demands, workers, each)]
        for role in Role:
            queues = [one for one in demands if owner_of(one.queue) is role]
            own = [one for one in workers if one.role == role]
            if role is not Role.ALL and (queues or own):
                found.append(hint(role, queues, own, each))
        return found

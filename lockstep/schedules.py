"""Schedules as Redis keeps them: how far each is decided, when it last fired, and which schedulers live.

A *tick* is a minute in which an actor is due, in milliseconds since 1970. All schedulers of a namespace share one
*mark* for each schedule: every tick up to it is decided, that is, fired or skipped. A scheduler claims the ticks
after the mark, enqueues their messages under ids made of actor and tick, and moves the mark. If it dies before it
enqueued, its claim ends and another decides about the same ticks; if it dies before it moved the mark, the other
sends the same ids again, which are known. So nothing is lost and nothing is sent twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from lockstep import clean
from lockstep.calls import Calls
from lockstep.checks import MAX_ID

#: Seconds that a scheduler counts as alive after it was heard of.
ALIVE_SECONDS: Final = 10.0

#: Milliseconds that a tick may be late and still be in time, as after a restart within the minute.
LATE_MS: Final = 60_000

#: Schedules that one scheduler may have.
MAX_SCHEDULES: Final = 1000

#: Milliseconds that the mark of a schedule is kept while no scheduler declares it.
_KEEP_MS: Final = 35 * 86_400_000

_PREFIX: Final = "periodic:"

#: Characters of the name of a periodic actor: its ids must be ids.
MAX_NAME: Final = MAX_ID - len(_PREFIX) - len(":2026-11-25T10:00Z")


class CatchUp(StrEnum):
    """What becomes of the ticks at which no scheduler was there."""

    SKIP = "skip"  #: nothing
    LAST = "last"  #: the last of them is fired
    ALL = "all"  #: each of them is fired, in their order


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a periodic actor declares."""

    actor: str
    expression: str  #: see ``lockstep.cron``
    catch_up: CatchUp | str  #: text only in a listing, of a release that knows more than this one


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a schedule is decided."""

    ms: int  #: every tick up to here was fired or skipped
    claimed: bool  #: another scheduler is deciding about those after it


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord:
    """What Redis knows about one schedule."""

    schedule: Schedule
    alive: bool  #: a scheduler that lives declares it
    mark_ms: int
    tick_ms: int | None  #: the last tick that was fired
    fired_ms: int | None  #: when it was
    message_id: str | None


@dataclass(frozen=True, slots=True)
class ScheduleList:
    """All schedules and schedulers at one moment of the server."""

    now_ms: int
    schedulers: dict[str, int]  #: those alive, with the milliseconds since each was heard of
    records: list[ScheduleRecord]  #: by name


def tick_id(actor: str, tick_ms: int) -> str:
    """The id of the message of one tick: the same wherever it is sent from."""
    return f"{_PREFIX}{actor}:{datetime.fromtimestamp(tick_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"


def tick_of(scheduled_at: object) -> int | None:
    """The tick that a message was scheduled at, as periodiq notes it in its options; None: that is no time."""
    try:
        return int(datetime.fromisoformat(str(scheduled_at)).timestamp()) // 60 * 60_000
    except (ValueError, OverflowError):
        return None


class Schedules:
    """The part of the store that schedulers share. Raises and threads: see ``Calls``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def beat(self, scheduler: str, schedules: Sequence[Schedule]) -> tuple[int, list[Mark]]:
        """Say that a scheduler lives and what it declares; answers the server's time and each schedule's mark."""
        declared = [part for one in schedules for part in (one.actor, one.expression, one.catch_up)]
        arguments = [scheduler, int(ALIVE_SECONDS * 1000), _KEEP_MS, LATE_MS, *declared]
        now_ms, *marks = self._calls.run_on("beat", (self._schedules, self._schedulers), arguments)
        return now_ms, [Mark(ms, claimed == 1) for ms, claimed in zip(marks[::2], marks[1::2], strict=True)]

    def fire(self, schedule: Schedule, mark: Mark, tick_ms: int, scheduler: str, claim_ms: int) -> bool:
        """Claim the ticks after ``mark`` up to ``tick_ms``; only who has the claim may enqueue them."""
        arguments = [schedule.actor, mark.ms, tick_ms, scheduler, claim_ms]
        return bool(self._calls.run_on("fire", (self._schedules,), arguments) == 1)

    def mark(
        self, schedule: Schedule, tick_ms: int, scheduler: str, *, fired_ms: int | None, message_id: str
    ) -> None:
        """Note that all ticks up to ``tick_ms`` are decided; ``fired_ms`` is the last that was fired."""
        arguments = [schedule.actor, tick_ms, scheduler, fired_ms or 0, message_id]
        self._calls.run_on("mark", (self._schedules,), arguments)

    def leave(self, scheduler: str) -> None:
        """Say that a scheduler stopped in order."""
        self._calls.command("ZREM", self._schedulers, scheduler)

    def listing(self) -> ScheduleList:
        """All schedules that some scheduler declared when the last of them was heard of."""
        now_ms, seen, *rows = self._calls.run_on("schedules", (self._schedules, self._schedulers), [])
        alive_ms = int(ALIVE_SECONDS * 1000)
        ages = {clean.text(name): age for name, age in zip(seen[::2], seen[1::2], strict=True)}
        schedulers = {name: age for name, age in sorted(ages.items()) if age <= alive_ms}
        alive_since = now_ms - alive_ms if schedulers else now_ms + 1
        latest = max((int(row[4]) for row in rows), default=0)
        # What is in no release any more is not listed; when no scheduler lives, nobody knows what is.
        records = [_record(row, alive_since) for row in sorted(rows) if row[4] >= latest - alive_ms]
        return ScheduleList(now_ms, schedulers, records)

    @property
    def _schedules(self) -> str:
        return self._calls.global_key("schedules")

    @property
    def _schedulers(self) -> str:
        return self._calls.global_key("schedulers")


def _record(row: Sequence[Any], alive_since_ms: int) -> ScheduleRecord:
    actor, expression, catch_up, mark_ms, seen_ms, tick_ms, fired_ms, message_id = row
    return ScheduleRecord(
        schedule=Schedule(clean.text(actor), clean.text(expression), clean.text(catch_up)),
        alive=seen_ms >= alive_since_ms,
        mark_ms=mark_ms,
        tick_ms=tick_ms or None,
        fired_ms=fired_ms or None,
        message_id=clean.text(message_id) or None,
    )

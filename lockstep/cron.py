"""Cron expressions: which minutes are the ticks of a schedule, as ``cronsim`` reads them.

Actors declare theirs with ``periodiq.cron``, whose own reading has defects: a Sunday that is written as 0 never comes,
some steps are passed over. So its reading is brought into one form here and compared with that of ``cronsim``: where
the two mean the same, ``cronsim`` decides from then on; where they do not, the expression is refused.

An expression is in UTC, or in the zone that stands before it: ``TZ=Europe/Berlin 0 6 * * 1-5``.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from lockstep.cronrefusals import FIELDS

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE: Final = "TZ="
_SOME_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Days:
    """Which days: of both fields, of either, or of one that alone says something; None is every day."""

    joined: str
    of_month: frozenset[Any] | None
    of_week: frozenset[Any] | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What an expression means, however it is written."""

    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: _Days


def normalised(spec: Any, zone: str | None = None) -> str:
    """The expression of a ``periodiq.cron`` in five fields, once both libraries agree about what it means.

    Args:
      spec: the ``periodiq.cron``.
      zone: name of its time zone; None: UTC.

    Raises:
      ValueError: it could never be right: it says what is wrong with the expression.
    """
    text = _text(spec)
    if len(text.split()) != len(FIELDS):
        raise ValueError(f"{text!r}: expected five fields: {', '.join(FIELDS)}")
    try:
        cron = CronSim(text, _SOME_TIME)
    except CronSimError as error:
        raise ValueError(f"{text!r} is no cron expression: {error}") from None
    if next(CronSim(text, _SOME_TIME), None) is None:
        raise ValueError(f"{text!r} never comes")
    differing = _difference(_read_periodiq(spec), _read_cron(cron))
    if differing:
        raise ValueError(f"{text!r}: cron and periodiq read its {differing} differently; list what you mean")
    return text if zone is None else f"{_ZONE}{_check_zone(zone)} {text}"


def next_tick(expression: str, after_ms: int) -> int:
    """The first tick after a time; both in milliseconds since 1970."""
    return next(_ticks(expression, after_ms))


def ticks_between(expression: str, after_ms: int, until_ms: int, most: int) -> list[int]:
    """The ticks after one time and up to another, in order; the last ``most`` of them when there are more."""
    return list(deque(takewhile(lambda tick: tick <= until_ms, _ticks(expression, after_ms)), maxlen=most))


def _ticks(expression: str, after_ms: int) -> Iterator[int]:
    zone: tzinfo = UTC
    if expression.startswith(_ZONE):
        name, _, expression = expression.removeprefix(_ZONE).partition(" ")
        zone = ZoneInfo(name)
    last_ms = after_ms
    for tick in CronSim(expression, datetime.fromtimestamp(after_ms // 1000, zone)):
        ms = int(tick.timestamp()) * 1000
        # When clocks are set forward, two ticks may fall together; when they are set back, one may lie before.
        if ms > last_ms:
            yield ms
            last_ms = ms


def _check_zone(zone: object) -> str:
    try:
        return ZoneInfo(str(zone)).key
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone {zone!r}") from None


def _text(spec: Any) -> str:
    if spec.parsed_from is None:  # made of numbers, or changed since it was parsed
        values = (spec.minute, spec.hour, spec.dom, spec.month, {day % 7 for day in spec.dow})
        return " ".join(map(_listed, values, (60, 24, 31, 12, 7)))
    text = " ".join(str(spec.parsed_from).lower().split())
    return _NAMED.get(text, text)


def _listed(values: Iterable[int], all_of_them: int) -> str:
    listed = sorted(set(values))
    return "*" if len(listed) == all_of_them else ",".join(map(str, listed))


def _read_periodiq(spec: Any) -> _Reading:
    # Its own calendar calls Sunday 7, and finds a 0 on no day.
    week = _or_every({day % 7 for day in spec.dow}, 7)
    month = _or_every(set(spec.dom), 31)
    days = _Days("or" if week and month else "", month, week)
    return _Reading(frozenset(spec.minute), frozenset(spec.hour), frozenset(spec.month), days)


def _read_cron(cron: CronSim) -> _Reading:
    week = _or_every({day % 7 if isinstance(day, int) else day for day in cron.weekdays}, 7)
    month = _or_every(set(cron.days), 31)
    if not cron.day_and and not (week and month):  # every day of one field is every day at all
        week = month = None
    days = _Days(("and" if cron.day_and else "or") if week and month else "", month, week)
    return _Reading(frozenset(cron.minutes), frozenset(cron.hours), frozenset(cron.months), days)


def _or_every(values: set[Any], every: int) -> frozenset[Any] | None:
    return None if len(values) == every else frozenset(values)


def _difference(one: _Reading, other: _Reading) -> str:
    """The first field that two readings do not share; empty: none."""
    names = {"minutes": "minute", "hours": "hour", "months": "month", "days": "days"}
    return next((name for part, name in names.items() if getattr(one, part) != getattr(other, part)), "")

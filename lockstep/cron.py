"""Cron expressions: which minutes are the ticks of a schedule, in UTC, as ``cronsim`` reads them.

Actors declare theirs with ``periodiq.cron``, whose own reading has defects: a Sunday that is written as 0 never comes,
some steps are passed over. So its reading is brought into one form here and compared with that of ``cronsim``: where
the two mean the same, ``cronsim`` decides from then on; where they do not, the expression is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cronsim import CronSim, CronSimError

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = ("minute", "hour", "day of month", "month", "day of week")
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


def normalised(spec: Any) -> str:
    """The expression of a ``periodiq.cron`` in five fields, once both libraries agree about what it means.

    Raises:
      ValueError: it could never be right: it says what is wrong with the expression.
    """
    text = _text(spec)
    if len(text.split()) != len(_FIELDS):
        raise ValueError(f"{text!r}: expected five fields: {', '.join(_FIELDS)}")
    try:
        cron = CronSim(text, _SOME_TIME)
    except CronSimError as error:
        raise ValueError(f"{text!r} is no cron expression: {error}") from None
    if next(CronSim(text, _SOME_TIME), None) is None:
        raise ValueError(f"{text!r} never comes")
    differing = _difference(_read_periodiq(spec), _read_cron(cron))
    if differing:
        raise ValueError(f"{text!r}: cron and periodiq read its {differing} differently; list what you mean")
    return text


def next_tick(expression: str, after_ms: int) -> int:
    """The first tick after a time; both in milliseconds since 1970."""
    return _ms(next(CronSim(expression, _datetime(after_ms))))


def ticks_between(expression: str, after_ms: int, until_ms: int, most: int) -> list[int]:
    """The ticks after one time and up to another, in order; the last ``most`` of them when there are more."""
    found: list[int] = []
    # Backwards, so that it takes no longer after a year than after a minute.
    for tick in CronSim(expression, _datetime(until_ms) + timedelta(seconds=1), reverse=True):
        ms = _ms(tick)
        if ms <= after_ms or len(found) == most:
            break
        found.append(ms)
    return found[::-1]


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


def _datetime(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000

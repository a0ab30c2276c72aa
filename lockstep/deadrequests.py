"""What operators ask about dead letters, read from JSON or from the parameters of a query, or what is wrong with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lockstep.checks import check_group, check_id, check_text, check_truth, check_whole, kind, member
from lockstep.deadletters import BATCH, DeadFilter, Redrive
from lockstep.errors import InvalidMessage
from lockstep.rates import Rate
from lockstep.requests import parse_time

#: Characters of a text that is looked for.
MAX_TEXT: Final = 200
#: Dead letters on one page, and what one request redrives.
MAX_PAGE: Final = 200
MAX_LIMIT: Final = 10_000_000
#: Numbers that are days of 1970 in milliseconds, but of 2001 to 2286 in seconds.
_SECONDS: Final = range(10**9, 10**10)


def _name(value: object, pointer: str) -> str:
    return check_text(value, MAX_TEXT, pointer)


def _millis(value: object, pointer: str) -> int:
    if type(value) is int and value in _SECONDS:  # every dead letter died since, and none until then
        raise InvalidMessage(pointer, "it looks like seconds: give milliseconds since 1970")
    return check_whole(parse_time(value, pointer), 0, 2**53, pointer)


#: Each field of a filter: the name it has inside, and its check.
FILTER_FIELDS: Final[dict[str, tuple[str, Callable[[object, str], Any]]]] = {
    "queue": ("queue", _name),
    "actor": ("actor", _name),
    "group": ("group", check_group),
    "error": ("error", _name),
    "fingerprint": ("fingerprint", _name),
    "q": ("text", _name),
    "since": ("since_ms", _millis),
    "until": ("until_ms", _millis),
}

_PAGE_FIELDS: Final = ("cursor", "limit")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dead letters a request is about, and how far it goes."""

    which: DeadFilter | list[str]
    dry_run: bool
    limit: int | None
    cursor: str | None


def parse_filter(fields: Mapping[str, object], pointer: str = "") -> DeadFilter:
    """A filter; nothing given means all.

    Raises:
      InvalidMessage: a field is unknown or wrong.
    """
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in FILTER_FIELDS:
            raise InvalidMessage(member(pointer, name), _no_such_field(FILTER_FIELDS))
        inner, check = FILTER_FIELDS[name]
        values[inner] = check(value, f"{pointer}/{name}")
    return DeadFilter(**values)


def parse_page(parameters: Mapping[str, str]) -> tuple[DeadFilter, str | None, int]:
    """Filter, cursor and limit from the parameters of a query.

    Raises:
      InvalidMessage: a parameter is unknown or wrong.
    """
    given: dict[str, object] = dict(parameters)
    cursor, limit = given.pop("cursor", None) or None, given.pop("limit", "50")
    for name in given:
        if name not in FILTER_FIELDS:
            raise InvalidMessage(member("", name), _no_such_field((*FILTER_FIELDS, *_PAGE_FIELDS)))
    for name in ("since", "until"):
        text = given.get(name, "")
        if isinstance(text, str) and text.isdecimal() and text.isascii():
            given[name] = int(text[:20])
    if not isinstance(limit, str) or not limit.isdecimal() or not limit.isascii():
        raise InvalidMessage("/limit", f"expected a whole number from 1 to {MAX_PAGE}")
    number = check_whole(int(limit[:9]), 1, MAX_PAGE, "/limit")
    return parse_filter(given), None if cursor is None else check_text(cursor, None, "/cursor"), number


def parse_redrive(data: object) -> tuple[Chosen, Redrive]:
    """A request to redrive.

    Raises:
      InvalidMessage: a field is unknown, missing or wrong.
    """
    fields = _object(data, "", ("ids", "filter", "order", "rate", "dry_run", "limit", "cursor"))
    order = fields.get("order", "tail")
    if order not in ("tail", "head"):
        raise InvalidMessage("/order", 'expected "tail" or "head"')
    interval = 0.0
    if "rate" in fields:
        interval = parse_interval(fields["rate"], "/rate")
        if order == "head":
            raise InvalidMessage("/rate", "only with the order tail: what waits behind would run in between")
    return _chosen(fields), Redrive(order=order, interval_ms=interval)


def parse_discard(data: object) -> Chosen:
    """A request to discard.

    Raises:
      InvalidMessage: a field is unknown, missing or wrong.
    """
    return _chosen(_object(data, "", ("ids", "filter", "dry_run", "cursor")))


def parse_interval(value: object, pointer: str) -> float:
    """Milliseconds between two messages at a rate such as ``100/1s``.

    Raises:
      InvalidMessage: it is no rate, or one with a burst or for each of something.
    """
    try:
        rate = Rate.parse(check_text(value, MAX_TEXT, pointer))
    except ValueError as error:
        raise InvalidMessage(pointer, str(error)) from None
    if rate.burst != rate.count or rate.scope != "fleet":
        raise InvalidMessage(pointer, "expected a plain rate such as 100/1s")
    return rate.period_ms / rate.count


def _chosen(fields: Mapping[str, Any]) -> Chosen:
    if ("ids" in fields) == ("filter" in fields):
        raise InvalidMessage("", 'expected ids or a filter; {"filter": {}} means all')
    dry_run = check_truth(fields.get("dry_run", False), "/dry_run")
    if "ids" in fields:
        for name in _PAGE_FIELDS:
            if name in fields:
                raise InvalidMessage(f"/{name}", "only with a filter")
        return Chosen(_ids(fields["ids"]), dry_run, None, None)
    limit = check_whole(fields["limit"], 1, MAX_LIMIT, "/limit") if "limit" in fields else None
    cursor = None  # an empty one is where the first page begins, as none is
    if fields.get("cursor", "") != "":
        cursor = check_text(fields["cursor"], None, "/cursor")
    wanted = _object(fields["filter"], "/filter", FILTER_FIELDS)
    return Chosen(parse_filter(wanted, "/filter"), dry_run, limit, cursor)


def _ids(value: object) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= BATCH:
        raise InvalidMessage("/ids", f"expected an array of 1 to {BATCH} ids")
    ids = [check_id(one, f"/ids/{place}") for place, one in enumerate(value)]
    return list(dict.fromkeys(ids))


def _object(data: object, pointer: str, known: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidMessage(pointer, f"expected an object, got {kind(data)}")
    for name in data:
        if name not in known:
            raise InvalidMessage(member(pointer, name), _no_such_field(known))
    return data


def _no_such_field(known: Any) -> str:
    return f"no such field; there are: {', '.join(known)}"

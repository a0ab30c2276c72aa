"""Turns a JSON request into a Dramatiq message, or says what is wrong with it and where.

The one reading of requests for HTTP and for ``lockstep send``. What only the actor can tell, whether the arguments
fit it, the broker checks, as for every message. Nothing is written here.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import dramatiq

from lockstep.checks import (
    MAX_ID,
    RESERVED,
    check_attempts,
    check_delay,
    check_eta,
    check_group,
    check_key,
    check_new_id,
    check_priority,
    check_retention,
    check_text,
    check_truth,
    check_unique,
    kind,
    member,
)
from lockstep.errors import InvalidMessage, UnknownActor

#: Fields of a request.
FIELDS: Final = (
    *("actor", "group", "args", "kwargs", "queue", "id", "delay_ms", "eta", "hold_place", "priority"),
    *("max_attempts", "idempotency_key", "unique", "unique_by", "retention"),
)

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


def _unique(value: object, pointer: str) -> object:
    check_unique(value, pointer)
    return value


def _text(value: object, pointer: str) -> str:
    return check_text(value, None, pointer)


#: Fields that are options of the message as they are.
_CHECKS: Final[dict[str, Callable[[object, str], object]]] = {
    "group": check_group,
    "max_attempts": check_attempts,
    "priority": check_priority,
    "hold_place": check_truth,
    "idempotency_key": check_key,
    "unique": _unique,
    "unique_by": _text,
    "retention": check_retention,
}


def parse_request(
    broker: dramatiq.Broker, data: object, *, pointer: str = ""
) -> tuple["dramatiq.Message[Any]", int | None]:
    """The message that a request asks for, and its delay in milliseconds.

    An ``eta`` becomes an option of the message, so that the server's clock decides when it is due.

    Args:
      broker: knows the actors.
      data: the decoded JSON of the request.
      pointer: where the request stands in what the client sent, for errors.

    Raises:
      UnknownActor: no actor of that name is registered.
      InvalidMessage: anything else is wrong; ``field`` points at it.
    """
    fields = _fields(data, pointer)
    actor = _actor(broker, fields, pointer)
    args = _typed(fields.get("args", []), list, f"{pointer}/args")
    kwargs = _typed(fields.get("kwargs", {}), dict, f"{pointer}/kwargs")
    if "queue" in fields and fields["queue"] != actor.queue_name:
        raise InvalidMessage(f"{pointer}/queue", f"this actor's queue is {actor.queue_name!r}")
    message = actor.message_with_options(args=tuple(args), kwargs=kwargs, **_options(fields, pointer))
    return message, _delay(fields, pointer)


def _fields(data: object, pointer: str) -> dict[str, object]:
    fields: dict[str, object] = _typed(data, dict, pointer)
    for name in fields:
        if name in RESERVED:
            raise InvalidMessage(f"{pointer}/{name}", "not supported yet; leave it out")
        if name not in FIELDS:
            raise InvalidMessage(member(pointer, name), f"no such field; there are: {', '.join(FIELDS)}")
    return fields


def _actor(broker: dramatiq.Broker, fields: Mapping[str, object], pointer: str) -> "dramatiq.Actor[Any, Any]":
    if "actor" not in fields:
        raise InvalidMessage(f"{pointer}/actor", "missing")
    name = check_text(fields["actor"], None, f"{pointer}/actor")
    try:
        return broker.get_actor(name)
    except dramatiq.ActorNotFound:
        raise UnknownActor(name[:MAX_ID], f"{pointer}/actor") from None


def _options(fields: Mapping[str, object], pointer: str) -> dict[str, object]:
    options: dict[str, object] = {}
    if "id" in fields:
        options["message_id"] = check_new_id(fields["id"], f"{pointer}/id")
    for name, check in _CHECKS.items():
        if name in fields:
            options[name] = check(fields[name], f"{pointer}/{name}")
    if "eta" in fields:
        if "delay_ms" in fields:
            raise InvalidMessage(f"{pointer}/eta", "give eta or delay_ms, not both")
        options["eta"] = _eta(fields["eta"], f"{pointer}/eta")
    return options


def _delay(fields: Mapping[str, object], pointer: str) -> int | None:
    if "delay_ms" not in fields:
        return None
    return check_delay(fields["delay_ms"], f"{pointer}/delay_ms")


def _eta(value: object, pointer: str) -> int:
    return check_eta(parse_time(value, pointer), pointer)


def parse_time(value: object, pointer: str) -> int:
    """Milliseconds since 1970, from such a number or an RFC 3339 time with an offset; no earlier than 0.

    Raises:
      InvalidMessage: it is neither.
    """
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return max(0, int(datetime.fromisoformat(value.upper()).timestamp() * 1000))
        except (ValueError, OverflowError) as error:
            raise InvalidMessage(pointer, f"no such time: {error}") from None
    if type(value) is not int:
        raise InvalidMessage(pointer, "expected an RFC 3339 time with an offset, or milliseconds since 1970")
    return value


def _typed(value: object, expected: type[Any], pointer: str) -> Any:
    if not isinstance(value, expected):
        raise InvalidMessage(pointer, f"expected {kind(expected())}, got {kind(value)}")
    return value

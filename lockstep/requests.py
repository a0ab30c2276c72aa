"""Turns a JSON request into a Dramatiq message, or says what is wrong with it and where.

The one reading of requests for HTTP and for ``lockstep send``; a request that passes has arguments that fit
its actor and values that can be stored. Nothing is written here.
"""

import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, Final

import dramatiq
import orjson

from lockstep.errors import InvalidMessage, UnknownActor

#: Fields of a request.
FIELDS: Final = ("actor", "group", "args", "kwargs", "queue", "id", "delay_ms", "eta", "max_attempts")
#: Fields that are reserved for what comes later: refused, so that nobody relies on them by mistake.
RESERVED: Final = ("idempotency_key", "priority", "callback_url", "depends_on")

MAX_GROUP: Final = 256  #: characters
MAX_ID: Final = 128  #: characters
MAX_DELAY_MS: Final = 52 * 7 * 86_400_000  #: milliseconds, 52 weeks
MAX_ATTEMPTS: Final = 1000

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


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
    check_arguments(actor, args, kwargs, pointer=pointer)
    _check_storable(args, f"{pointer}/args")
    _check_storable(kwargs, f"{pointer}/kwargs")
    if "queue" in fields and fields["queue"] != actor.queue_name:
        raise InvalidMessage(f"{pointer}/queue", f"this actor's queue is {actor.queue_name!r}")
    message = actor.message_with_options(args=tuple(args), kwargs=kwargs, **_options(fields, pointer))
    if "id" in fields:
        message = message.copy(message_id=check_id(fields["id"], f"{pointer}/id"))
    return message, _delay(fields, pointer)


def check_group(group: object, pointer: str = "/group") -> str:
    """A group key: any non-empty text up to 256 characters, and nothing in it is special.

    Raises:
      InvalidMessage: it is not.
    """
    return _text(group, MAX_GROUP, pointer)


def check_id(message_id: object, pointer: str = "/id") -> str:
    """A client-made message id: 1 to 128 characters, none of them a control character.

    Raises:
      InvalidMessage: it is not.
    """
    text = _text(message_id, MAX_ID, pointer)
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidMessage(pointer, "control characters are not allowed")
    return text


def check_arguments(
    actor: "dramatiq.Actor[Any, Any]",
    args: Sequence[object],
    kwargs: Mapping[str, object],
    *,
    pointer: str = "",
) -> None:
    """Check that the actor's function can be called with these arguments.

    Raises:
      InvalidMessage: it cannot; ``field`` points at the argument.
    """
    parameters = _parameters(actor.fn)
    kinds = {parameter.kind for parameter in parameters}
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    if len(args) > len(positional) and Parameter.VAR_POSITIONAL not in kinds:
        raise InvalidMessage(f"{pointer}/args", f"at most {len(positional)} expected, got {len(args)}")
    given = {parameter.name for parameter in positional[: len(args)]}
    named = {parameter.name for parameter in parameters if parameter.kind in _NAMED}
    for name in kwargs:
        if name in named & given:
            raise InvalidMessage(member(f"{pointer}/kwargs", name), "given in args already")
        if name not in named and Parameter.VAR_KEYWORD not in kinds:
            raise InvalidMessage(member(f"{pointer}/kwargs", name), "the actor has no such argument")
    for parameter in parameters:
        if parameter.default is not Parameter.empty or parameter.name in given:
            continue
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            raise InvalidMessage(f"{pointer}/args", f"{parameter.name!r} is missing")
        if parameter.kind in _NAMED and parameter.name not in kwargs:
            raise InvalidMessage(f"{pointer}/kwargs/{parameter.name}", "missing")


def member(pointer: str, name: str) -> str:
    """The pointer to a member of an object; to the object itself when the name is no use to a reader."""
    if len(name) > MAX_ID or _unpaired(name):
        return pointer
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def kind(value: object) -> str:
    """What a JSON value is called."""
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


@lru_cache(maxsize=4096)
def _parameters(fn: Any) -> tuple[Parameter, ...]:
    return tuple(signature(fn).parameters.values())


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
    name = _text(fields["actor"], None, f"{pointer}/actor")
    try:
        return broker.get_actor(name)
    except dramatiq.ActorNotFound:
        raise UnknownActor(name[:MAX_ID], f"{pointer}/actor") from None


def _options(fields: Mapping[str, object], pointer: str) -> dict[str, object]:
    options: dict[str, object] = {}
    if "group" in fields:
        options["group"] = check_group(fields["group"], f"{pointer}/group")
    if "max_attempts" in fields:
        options["max_attempts"] = _whole(fields["max_attempts"], 1, MAX_ATTEMPTS, f"{pointer}/max_attempts")
    if "eta" in fields:
        if "delay_ms" in fields:
            raise InvalidMessage(f"{pointer}/eta", "give eta or delay_ms, not both")
        options["eta"] = _eta(fields["eta"], f"{pointer}/eta")
    return options


def _delay(fields: Mapping[str, object], pointer: str) -> int | None:
    if "delay_ms" not in fields:
        return None
    return _whole(fields["delay_ms"], 0, MAX_DELAY_MS, f"{pointer}/delay_ms")


def _eta(value: object, pointer: str) -> int:
    """Milliseconds since 1970; this clock only bounds them, it does not decide when the message is due."""
    latest = int(time.time() * 1000) + MAX_DELAY_MS
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            value = int(datetime.fromisoformat(value.upper()).timestamp() * 1000)
        except (ValueError, OverflowError) as error:
            raise InvalidMessage(pointer, f"no such time: {error}") from None
        value = max(value, 0)
    elif type(value) is not int:
        raise InvalidMessage(pointer, "expected an RFC 3339 time with an offset, or milliseconds since 1970")
    if not 0 <= value <= latest:
        raise InvalidMessage(pointer, "expected a time since 1970 and at most 52 weeks ahead")
    return value


def _typed(value: object, expected: type[Any], pointer: str) -> Any:
    if not isinstance(value, expected):
        raise InvalidMessage(pointer, f"expected {kind(expected())}, got {kind(value)}")
    return value


def _text(value: object, most: int | None, pointer: str) -> str:
    text: str = _typed(value, str, pointer)
    if not text or (most is not None and len(text) > most):
        limit = f"up to {most} characters" if most else "a name"
        raise InvalidMessage(pointer, f"expected {limit}, at least one; got {len(text)}")
    if _unpaired(text):
        raise InvalidMessage(pointer, "an unpaired surrogate is no text")
    return text


def _whole(value: object, least: int, most: int, pointer: str) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InvalidMessage(pointer, f"expected a whole number from {least} to {most}")
    return value


def _unpaired(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check_storable(value: object, pointer: str) -> None:
    """Refuse what would not come back as it went in: huge integers, unpaired surrogates, endless nesting."""
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise InvalidMessage(_find_unstorable(value, pointer), f"cannot be stored: {error}") from None


def _find_unstorable(value: object, pointer: str) -> str:
    for _ in range(32):  # deeper, the pointer would help nobody, and each level costs an encoding
        for name, child in _children(value):
            if not _storable(child):
                value, pointer = child, member(pointer, name)
                break
        else:
            break
    return pointer


def _children(value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return list(value.items())
    return [(str(index), item) for index, item in enumerate(value)] if isinstance(value, list) else []


def _storable(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True

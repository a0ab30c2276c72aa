"""What the encoder of an application makes of a message: keys are made of that, and what it changes is refused."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from dramatiq import Message
from dramatiq.encoder import Encoder

from lockstep.checks import find_unstorable, kind, member
from lockstep.envelope import OrjsonEncoder, encode
from lockstep.errors import InvalidMessage

#: Types that compare by value; of others, the same type must do.
_COMPARED: Final = (str, bytes, int, float, datetime, date, time, timedelta, UUID, Decimal)


def as_returned(message: Message[Any], options: dict[str, Any], encoder: Encoder) -> Message[Any]:
    """Return the message with the arguments that its actor will get.

    The project's own encoder refuses what it would change, so nothing needs to be decoded for it. Any other is asked.

    Raises:
      InvalidMessage: the encoder fails, or an argument or option comes back as another.
    """
    if type(encoder) is OrjsonEncoder:
        return message
    stored = replace(message, options=options)
    try:
        payload = encode(stored, encoder)
        returned = encoder.decode(payload)
        parts = [(f"/{name}", returned[name]) for name in ("args", "kwargs", "options")]
    except Exception as error:  # it may raise anything
        raise InvalidMessage(find_unstorable(stored, encoder), f"cannot be stored: {error}") from None
    try:
        for value, (pointer, back) in zip((message.args, message.kwargs, options), parts, strict=True):
            _compare(value, back, "" if pointer == "/options" else pointer)
    except RecursionError:
        raise InvalidMessage("", "cannot be stored: it is nested too deeply") from None
    return replace(message, args=returned["args"], kwargs=returned["kwargs"])


def _compare(value: Any, returned: Any, pointer: str) -> None:
    """Raise InvalidMessage unless ``returned`` is the same as ``value``; a list may be a tuple and the reverse."""
    if isinstance(value, list | tuple) and type(returned) in (type(value), list, tuple):
        if len(value) != len(returned):
            raise InvalidMessage(pointer, "its encoder changes it")
        for place, child in enumerate(value):
            _compare(child, returned[place], f"{pointer}/{place}")
    elif type(value) is not type(returned):
        raise InvalidMessage(pointer, f"{kind(value)} comes back from its encoder as {kind(returned)}")
    elif isinstance(value, dict):
        if {(type(name), name) for name in value} != {(type(name), name) for name in returned}:
            raise InvalidMessage(pointer, "its encoder changes the names in it")
        for name, child in value.items():
            _compare(child, returned[name], member(pointer, name))
    elif isinstance(value, _COMPARED) and _differ(value, returned):
        raise InvalidMessage(pointer, "its encoder changes it")


def _differ(value: Any, returned: Any) -> bool:
    if isinstance(value, float):  # NaN is not equal to itself, and 0.0 is equal to -0.0
        return repr(value) != repr(returned)
    return bool(value != returned)

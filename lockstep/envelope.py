"""Messages as bytes: Dramatiq's own fields as JSON, written by orjson."""

import marshal
import math
from typing import Any, Final

import orjson
from dramatiq import DecodeError, Message, get_encoder
from dramatiq.encoder import Encoder, JSONEncoder, MessageData

_FIELDS: Final = frozenset(
    {"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}
)


#: orjson hands over what is not exactly of one of its types, instead of writing something similar.
STRICT: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)

#: The last version of marshal that keeps no table of references: it is the quickest.
_MARSHAL_VERSION: Final = 2

#: Types that come back exactly as they went in. Which numbers and texts do, orjson decides.
SCALARS: Final = frozenset({str, int, float, bool, type(None)})

#: Levels of lists and objects that orjson writes.
_DEPTH: Final = 254


class OrjsonEncoder(Encoder):
    """JSON by orjson; what would not come back as it went in is refused, not changed.

    The one exception is Dramatiq's own: a tuple, also a named one, comes back as a list.
    """

    def encode(self, data: MessageData) -> bytes:
        """Return ``data`` as JSON.

        Raises:
          TypeError, ValueError: a value of it would come back as another, or cannot be written.
        """
        return _write(exact(data))

    def decode(self, data: bytes) -> MessageData:
        """Raises ValueError when ``data`` is no JSON."""
        decoded: MessageData = orjson.loads(data)
        return decoded


def exact(value: Any) -> Any:
    """Return ``value`` when all of it is of plain types; with lists where it has named tuples.

    orjson writes enumerations and UUIDs as text and cannot be told otherwise. marshal refuses every value that is
    not exactly of a built-in type, and walks the whole tree in C.

    Raises:
      TypeError: there is a value of another type.
      ValueError: it is nested too deeply.
    """
    try:
        marshal.dumps(value, _MARSHAL_VERSION)
    except ValueError:
        return _without_named_tuples(value, 0)
    return value


def _without_named_tuples(value: Any, depth: int) -> Any:
    of = type(value)
    if of in SCALARS:
        return value
    if depth > _DEPTH:
        raise ValueError("it is nested too deeply")
    if of is dict:
        return {name: _without_named_tuples(child, depth + 1) for name, child in value.items()}
    if of is list or of is tuple or (issubclass(of, tuple) and hasattr(of, "_fields")):
        return [_without_named_tuples(child, depth + 1) for child in value]
    raise TypeError(f"a value of type {of.__name__} would not come back as it is; convert it to a plain one")


def _write(data: Any) -> bytes:
    encoded = orjson.dumps(data, option=STRICT)
    # orjson writes null for NaN and the infinities: without a null there is none to look for.
    if b"null" in encoded and _has_no_number(data):
        raise ValueError("NaN and infinities are no JSON")
    return encoded


def _has_no_number(data: object) -> bool:
    left = [data]
    for value in left:  # it grows while it is walked
        if isinstance(value, float):
            if not math.isfinite(value):
                return True
        elif isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
    return False


def current_encoder() -> Encoder:
    """The encoder that was given to ``dramatiq.set_encoder``, else orjson."""
    encoder = get_encoder()
    return OrjsonEncoder() if type(encoder) is JSONEncoder else encoder


def encode(message: Message[Any], encoder: Encoder) -> bytes:
    """Return the payload of a message."""
    args, kwargs, options = message.args, message.kwargs, message.options
    write = encoder.encode
    if type(encoder) is OrjsonEncoder:  # the other fields are plain
        args, kwargs, options = exact((args, kwargs, options))
        write = _write
    return write(
        {
            "queue_name": message.queue_name,
            "actor_name": message.actor_name,
            "args": args,
            "kwargs": kwargs,
            "options": options,
            "message_id": message.message_id,
            "message_timestamp": message.message_timestamp,
        }
    )


def decode(payload: bytes, encoder: Encoder) -> Message[Any]:
    """The message of a payload.

    Raises:
      DecodeError: the bytes cannot be decoded, or do not have the shape of a message.
    """
    try:
        fields = encoder.decode(payload)
        if not fields.keys() >= _FIELDS:
            raise ValueError(f"missing: {sorted(_FIELDS - fields.keys())}")
        if not (isinstance(fields["kwargs"], dict) and isinstance(fields["options"], dict)):
            raise TypeError("kwargs and options must be objects")
        if not (isinstance(fields["actor_name"], str) and isinstance(fields["message_timestamp"], int)):
            raise TypeError("actor_name must be text and message_timestamp a whole number")
        return Message(**{name: fields[name] for name in _FIELDS})
    except Exception as error:
        raise DecodeError("The payload is not a message.", payload, error) from error

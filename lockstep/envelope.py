"""Messages as bytes: Dramatiq's own fields as JSON, written by orjson."""

import math
from typing import Any, Final

import orjson
from dramatiq import DecodeError, Message, get_encoder
from dramatiq.encoder import Encoder, JSONEncoder, MessageData

_FIELDS: Final = frozenset(
    {"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}
)


class OrjsonEncoder(Encoder):
    """JSON by orjson; what would not come back as it went in is refused, not changed."""

    def encode(self, data: MessageData) -> bytes:
        """Raises TypeError or ValueError for what JSON cannot say, NaN, and integers beyond 64 bits."""
        encoded = orjson.dumps(data, default=_plain, option=orjson.OPT_NON_STR_KEYS)
        # orjson writes null for NaN and the infinities: without a null there is none to look for.
        if b"null" in encoded and _has_no_number(data):
            raise ValueError("NaN and infinities are no JSON")
        return encoded

    def decode(self, data: bytes) -> MessageData:
        """Raises ValueError when ``data`` is no JSON."""
        decoded: MessageData = orjson.loads(data)
        return decoded


def _plain(value: object) -> object:
    """Subclasses that orjson leaves to us, as the standard library has them."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


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
    """The payload of a message."""
    return encoder.encode(
        {
            "queue_name": message.queue_name,
            "actor_name": message.actor_name,
            "args": message.args,
            "kwargs": message.kwargs,
            "options": message.options,
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

"""Messages as bytes: Dramatiq's own fields as JSON, written by orjson."""

import json
from typing import Any, Final

import orjson
from dramatiq import DecodeError, Message, get_encoder
from dramatiq.encoder import Encoder, JSONEncoder, MessageData

_FIELDS: Final = frozenset(
    {"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}
)


class OrjsonEncoder(Encoder):
    """JSON by orjson, and by the standard library where that allows more (integers beyond 64 bits)."""

    def encode(self, data: MessageData) -> bytes:
        """Raises TypeError when ``data`` holds what JSON cannot say."""
        try:
            return orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            return json.dumps(data, separators=(",", ":")).encode()

    def decode(self, data: bytes) -> MessageData:
        """Raises ValueError when ``data`` is no JSON."""
        decoded: MessageData = orjson.loads(data)
        return decoded


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

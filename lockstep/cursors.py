"""Opaque cursors: where a page ended, as text that a client hands back unread."""

import base64
import binascii
import json
from typing import Any

from lockstep.errors import InvalidMessage


def encode_cursor(values: tuple[Any, ...]) -> str:
    """A cursor of plain values."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, types: tuple[type, ...], pointer: str = "/cursor") -> tuple[Any, ...]:
    """The values in a cursor that this API gave out.

    Raises:
      InvalidMessage: it did not.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        values = None
    if (
        not isinstance(values, list)
        or len(values) != len(types)
        or not all(type(value) is kind for value, kind in zip(values, types, strict=True))
    ):
        raise InvalidMessage(pointer, "expected the next_cursor of an answer, unchanged")
    return tuple(values)

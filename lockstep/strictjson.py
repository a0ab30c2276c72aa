"""Reads JSON strictly: what one reader may take differently from another is refused."""

import json
import math
from collections.abc import Iterable
from typing import Any


def parse_json(text: bytes | str) -> Any:
    """The value that ``text`` stands for, exactly.

    Raises:
      ValueError: not UTF-8, not JSON, NaN or an infinity, a name twice in an object, nested too deeply.
    """
    try:
        return json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            parse_float=_finite,
            parse_constant=_refuse,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"{name[:128]!r} is named twice in one object")
        result[name] = value
    return result

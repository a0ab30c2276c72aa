"""Turns text from settings and options into values; a ValueError says what was expected and what came."""

import base64
import ipaddress
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockstep.api_keys import ApiKey, api_keys  # noqa: F401  (read from here as well)
from lockstep.http_address import http_url
from lockstep.redis_address import RedisAddress
from lockstep.strictjson import parse_json

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
#: Characters of a name for people.
_LONGEST_LABEL: Final = 200
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def duration(text: str) -> float:
    """Seconds in a duration such as ``500ms``, ``30s``, ``5m``, ``24h``; a bare number is seconds."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"expected a duration such as 30s, 5m or 24h, got: {text!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]


def seconds(least: float, most: float) -> Callable[[str], float]:
    """A parser of durations between ``least`` and ``most`` seconds."""

    def parse(text: str) -> float:
        value = duration(text)
        if not least <= value <= most:
            raise ValueError(f"expected {least:g} to {most:g} seconds, got: {text!r}")
        return value

    return parse


def integer(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers between ``least`` and ``most``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"expected a whole number, got: {text!r}") from None
        if not least <= value <= most:
            raise ValueError(f"expected {least} to {most}, got: {text!r}")
        return value

    return parse


#: A TCP port.
port: Final = integer(0, 65535)


def boolean(text: str) -> bool:
    """True or false, in the usual spellings."""
    value = text.strip().lower()
    if value not in _TRUE | _FALSE:
        raise ValueError(f"expected true or false, got: {text!r}")
    return value in _TRUE


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of one word out of ``choices``."""

    def parse(text: str) -> str:
        value = text.strip().lower()
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got: {text!r}")
        return value

    return parse


def name(text: str) -> str:
    """A plain name: letters, digits, ``.``, ``_`` and ``-``."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"expected a name of letters, digits, '.', '_' and '-', got: {text!r}")
    return text


def label(text: str) -> str:
    """A name for people, which also goes into configuration files: printable, without quotes."""
    if not text.isprintable() or text != text.strip() or any(quote in text for quote in "\"'`"):
        raise ValueError("expected printable characters, no quotes, no blanks around them")
    if not 0 < len(text) <= _LONGEST_LABEL:
        raise ValueError(f"expected 1 to {_LONGEST_LABEL} characters")
    return text


def names(text: str) -> tuple[str, ...]:
    """Comma-separated plain names, at least one: no names may mean all."""
    found = tuple(name(part.strip()) for part in text.split(",") if part.strip())
    if not found:
        raise ValueError(f"expected names, comma-separated, got: {text!r}")
    return found


def redis_url(text: str) -> str:
    """The address of a Redis server."""
    RedisAddress.parse(text)
    return text.strip()


def existing_file(text: str) -> str:
    """The path of a file that is there."""
    if not Path(text).is_file():
        raise ValueError(f"expected a file, found none at {text!r}")
    return text


def signing_secret(text: str) -> str:
    """A Standard Webhooks secret: ``whsec_`` and base64, or base64 alone."""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("expected whsec_ followed by base64")
    return text


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Backoff:
    """How long a failed message waits before its next attempt.

    ``exponential`` doubles its first delay each time and spreads it by a random factor of 1 to 2 (as
    Dramatiq does); ``fixed`` and ``list`` are exact, and a list repeats its last delay.
    """

    kind: str
    delays: tuple[float, ...]  #: seconds
    most: float = 7 * 86400.0  #: seconds, ceiling of exponential

    @classmethod
    def parse(cls, text: str) -> "Backoff":
        """Read ``exponential:2s``, ``fixed:10s`` or ``list:0s,60s,120s``."""
        kind, _, rest = text.partition(":")
        if kind not in {"exponential", "fixed", "list"} or not rest:
            raise ValueError(f"expected exponential:2s, fixed:10s or list:0s,60s, got: {text!r}")
        delays = tuple(duration(part) for part in rest.split(","))
        if kind != "list" and len(delays) != 1:
            raise ValueError(f"expected one delay after {kind}:, got: {text!r}")
        return cls(kind, delays)

    def delay_ms(self, failures: int) -> int:
        """Milliseconds to wait after the ``failures``-th failure (1 is the first)."""
        if self.kind == "exponential":
            spread = self.delays[0] * 2 ** min(failures - 1, 32) * random.uniform(1, 2)
            seconds_ = spread if spread <= self.most else self.most * random.uniform(0.5, 1)
        else:
            seconds_ = self.delays[min(failures, len(self.delays)) - 1]
        return int(seconds_ * 1000)

    def __str__(self) -> str:
        return f"{self.kind}:" + ",".join(f"{delay:g}s" for delay in self.delays)


def routes(text: str) -> dict[str, str]:
    """Instance id to URL, from a JSON object."""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ValueError(f"expected a JSON object: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(url, str) for url in value.values()):
        raise ValueError("expected a JSON object of instance id to URL")
    return {instance: _route(instance, url) for instance, url in value.items()}


def _route(instance: str, url: str) -> str:
    try:
        return http_url(url)
    except ValueError as error:
        raise ValueError(f"{instance!r}: {error}") from None


def routes_file(text: str) -> str:
    """The path of a file of routes, which is read again where they are used."""
    existing_file(text)
    try:
        routes(Path(text).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    return text

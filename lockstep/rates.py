"""Limits as people write them: ``100/60s``, ``100/60s burst 10``, ``10/1s per group``, ``10/1s per process``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lockstep.parsing import duration

#: For whom a rate counts starts: all together, each worker process, or each group.
SCOPES: Final = ("fleet", "process", "group")

#: Starts that one rate may remember.
MAX_COUNT: Final = 100_000
#: Milliseconds of the shortest window, and of the longest: a week.
MIN_PERIOD_MS: Final = 10
MAX_PERIOD_MS: Final = 7 * 86_400_000

_RATE: Final = re.compile(
    r"(\d{1,6})\s*/\s*(\d*[a-z]+|\d+)(?:\s+burst\s+(\d{1,6}))?(?:\s+per\s+(group|process))?"
)
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` starts in any ``period_ms``, of which ``burst`` may come at once."""

    count: int
    period_ms: int
    burst: int
    scope: str = "fleet"

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read one rate.

        Raises:
          ValueError: it is none.
        """
        match = _RATE.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"expected a rate such as 100/60s, 100/60s burst 10 or 10/1s per group, got: {text!r}"
            )
        count, period = int(match[1]), match[2]
        period_ms = round(duration(period if period[0].isdigit() else f"1{period}") * 1000)
        if not 1 <= count <= MAX_COUNT:
            raise ValueError(f"expected 1 to {MAX_COUNT} in a period, got: {text!r}")
        if not MIN_PERIOD_MS <= period_ms <= MAX_PERIOD_MS:
            raise ValueError(f"expected a period from 10ms to 7d, got: {text!r}")
        burst = int(match[3] or count)
        if not 1 <= burst <= count:
            raise ValueError(f"expected a burst from 1 to {count}, got: {text!r}")
        return cls(count, period_ms, burst, match[4] or "fleet")

    def __str__(self) -> str:
        period = f"{self.period_ms // 1000}s" if self.period_ms % 1000 == 0 else f"{self.period_ms}ms"
        burst = f" burst {self.burst}" if self.burst < self.count else ""
        return f"{self.count}/{period}{burst}" + (f" per {self.scope}" if self.scope != "fleet" else "")


def is_name(text: str) -> bool:
    """Whether a limit may have this name: letters, digits, ``.``, ``_`` and ``-``."""
    return bool(_NAME.fullmatch(text))


def parse_rates(texts: Iterable[str]) -> tuple[Rate, ...]:
    """Several rates of one limit, at most one for each scope.

    Raises:
      ValueError: one is none, or two have the same scope.
    """
    rates = tuple(Rate.parse(text) for text in texts)
    scopes = [rate.scope for rate in rates]
    if len(set(scopes)) < len(scopes):
        raise ValueError(
            f"expected one rate for each of {', '.join(SCOPES)}, got: {', '.join(map(str, rates))}"
        )
    return rates


def parse_limit(given: object) -> tuple[tuple[Rate, ...], tuple[str, ...]]:
    """Return the rates of ``rate_limit`` and the names of shared limits: one text, or several of them.

    Raises:
      ValueError: one is neither.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple | set | frozenset) or not all(type(text) is str for text in texts):
        raise ValueError(f"expected a rate, a name or a list of them, got: {given!r}")
    names = tuple(text for text in texts if is_name(text))
    return parse_rates(text for text in texts if text not in names), names


def rate_limits(text: str) -> dict[str, tuple[Rate, ...]]:
    """``email=100/60s,email=10/1s per process,deliver=10/1s per group`` as the setting has it.

    Raises:
      ValueError: it is wrong somewhere.
    """
    texts: dict[str, list[str]] = {}
    for name, value in _pairs(text):
        texts.setdefault(name, []).append(value)
    return {name: parse_rates(values) for name, values in texts.items()}


def concurrency_limits(text: str) -> dict[str, int]:
    """``email=5,reports=1`` as the setting has it.

    Raises:
      ValueError: it is wrong somewhere.
    """
    return {name: concurrency(value) for name, value in _pairs(text)}


def concurrency(text: str) -> int:
    """How many may run at once.

    Raises:
      ValueError: no number from 1 to 100,000.
    """
    if not text.isdecimal() or not 1 <= int(text) <= MAX_COUNT:
        raise ValueError(f"expected a number from 1 to {MAX_COUNT} at once, got: {text!r}")
    return int(text)


def encode(rates: Iterable[Rate]) -> str:
    """Rates as the scripts read them."""
    return ",".join(f"{one.count}/{one.period_ms}/{one.burst}/{one.scope}" for one in rates)


def decode(text: str) -> tuple[Rate, ...]:
    """Rates as the scripts have them."""
    parts = (one.split("/") for one in text.split(",") if one)
    return tuple(Rate(int(count), int(period), int(burst), scope) for count, period, burst, scope in parts)


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not is_name(name):
            raise ValueError(f"expected NAME=LIMIT, got: {part!r}")
        pairs.append((name, value))
    if not pairs:  # no limits are not what anybody who sets them means
        raise ValueError(f"expected NAME=LIMIT, got: {text!r}")
    return pairs

"""Cleans what other processes stored about themselves, so that nothing in it can break the process that reads it.

Shared records are read by every web process and command. Their writers may run another release, have an environment
that is not UTF-8, or be broken. Cleaning twice changes nothing, so that a process may compare its own cleaned values
with those that it reads.
"""

from datetime import UTC, datetime
from typing import Final

#: Characters of a text that are kept: room for every name that is valid, and for a label of a metric.
MOST_TEXT: Final = 500

#: The highest number that every JSON reader takes as it is.
_MOST_NUMBER: Final = 2**53 - 1

#: Milliseconds at the end of the last year that a calendar has.
LAST_MS: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)


def text(stored: bytes | str, most: int = MOST_TEXT) -> str:
    r"""Return printable text of at most ``most`` characters; every other byte or character is written as ``\x..``."""
    if isinstance(stored, bytes):
        stored = stored[: most * 4].decode("utf-8", "backslashreplace")
    shown = stored[:most].encode("utf-8", "backslashreplace").decode()
    if not shown.isprintable():
        shown = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in shown
        )
    return shown[:most]


def number(stored: object, field: str) -> int:
    """Return a whole number that is not negative, and not too large to add up or to write.

    Raises:
      ValueError: it is no whole number.
    """
    if type(stored) is not int:
        raise ValueError(f"{field}: expected a whole number, got {type(stored).__name__}")
    return min(max(stored, 0), _MOST_NUMBER)


def time_ms(stored: object, field: str) -> int:
    """Return milliseconds since 1970, within the years that a calendar has.

    Raises:
      ValueError: it is no whole number.
    """
    return min(number(stored, field), LAST_MS)

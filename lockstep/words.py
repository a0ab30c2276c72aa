"""The words that the search index knows a message by, and those that somebody looks for."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

#: Words that one message is found by, at most: the first ones.
MOST: Final = 12

#: Values of the arguments that are read for them, at most.
_VALUES: Final = 200

#: Characters of one text that are read.
_TEXT: Final = 2000

#: A run of letters and digits that is long enough to be a word, whole.
_RUN: Final = re.compile(r"[^\W_]{3,}")

#: Characters of a word.
_LONGEST: Final = 32


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, each once: runs of 3 to 32 letters and digits."""
    return list(dict.fromkeys(_runs(text.lower())))


def words_of_arguments(args: Any, kwargs: Mapping[str, Any]) -> list[str]:
    """The first words of the texts and numbers in a message's arguments, each once."""
    found: dict[str, None] = {}
    for value in _values([*args, *kwargs.values()]):
        for word in _runs(value[:_TEXT].lower()):
            found[word] = None
            if len(found) == MOST:
                return list(found)
    return list(found)


def _runs(text: str) -> list[str]:
    return [run for run in _RUN.findall(text) if len(run) <= _LONGEST]


def _values(values: list[Any]) -> Iterator[str]:
    waiting, left = list(reversed(values)), _VALUES
    while waiting and left > 0:
        value = waiting.pop()
        left -= 1
        if isinstance(value, str):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, Mapping):
            waiting += list(reversed(list(value.values())))[-left - 1 :]
        elif isinstance(value, list | tuple):
            waiting += list(reversed(value))[-left - 1 :]

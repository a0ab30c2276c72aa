"""What is asked of a list of messages, read from the parameters of a query, or what is wrong with it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from lockstep.checks import check_group, check_id, check_text, check_whole, member
from lockstep.errors import InvalidMessage
from lockstep.listing import MAX_PAGE, Wanted
from lockstep.states import MessageState
from lockstep.words import words_of

#: Characters of a name, or of a text that is looked for.
_LONGEST: Final = 200

#: Words that one request may look for.
_WORDS: Final = 8


def _name(value: object, pointer: str) -> str:
    return check_text(value, _LONGEST, pointer)


def _state(value: object, pointer: str) -> MessageState:
    try:
        return MessageState(str(value))
    except ValueError:
        raise InvalidMessage(pointer, f"expected one of {', '.join(MessageState)}") from None


def _words(value: object, pointer: str) -> tuple[str, ...]:
    words = words_of(_name(value, pointer))
    if not 1 <= len(words) <= _WORDS:
        raise InvalidMessage(pointer, f"expected 1 to {_WORDS} words of 3 to 32 letters or digits")
    return tuple(words)


#: Each filter: the name it has inside, and its check.
FILTERS: Final[dict[str, tuple[str, Callable[[object, str], Any]]]] = {
    "state": ("state", _state),
    "queue": ("queue", _name),
    "group": ("group", check_group),
    "actor": ("actor", _name),
    "error": ("error", _name),
    "q": ("words", _words),
    "id": ("id", check_id),
}


def parse_wanted(given: Mapping[str, str | None]) -> Wanted:
    """A filter; what is None does not matter.

    Raises:
      InvalidMessage: one of its values is wrong, or has no such name.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in FILTERS:
            raise InvalidMessage(
                member("", name), f"no such parameter; there are: {', '.join((*FILTERS, 'cursor', 'limit'))}"
            )
        if value is not None:
            inner, check = FILTERS[name]
            values[inner] = check(value, f"/{name}")
    return Wanted(**values)


def parse_list(parameters: Mapping[str, str]) -> tuple[Wanted, str | None, int]:
    """Filter, cursor and limit.

    Raises:
      InvalidMessage: a parameter is unknown or wrong.
    """
    given: dict[str, str | None] = dict(parameters)
    cursor, limit = given.pop("cursor", None) or None, given.pop("limit", "50") or ""
    if not (limit.isascii() and limit.isdigit()):
        raise InvalidMessage("/limit", f"expected a whole number from 1 to {MAX_PAGE}")
    number = check_whole(int(limit[:9]), 1, MAX_PAGE, "/limit")
    return parse_wanted(given), cursor, number

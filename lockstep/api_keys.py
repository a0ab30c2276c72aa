"""API keys in settings: only those that a client can send, and errors that name an entry, never its text."""

import re
from dataclasses import dataclass
from typing import Final

#: The scopes that an API key may carry.
SCOPES: Final = ("enqueue", "read", "operate", "admin")
#: Bytes of a secret, below what servers and proxies allow for one header.
_LONGEST: Final = 4096
#: What people put between keys instead of a comma, and the beginning of another key.
_ANOTHER: Final = re.compile(rf"(?:[\s;|]|\\n)[^\s:;|]+:(?:{'|'.join(SCOPES)})(?:\+(?:{'|'.join(SCOPES)}))*:")
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d"


@dataclass(frozen=True)
class ApiKey:
    """Who may call the API: a name for the logs, a secret, and scopes."""

    name: str
    scopes: frozenset[str]
    secret: str

    def __repr__(self) -> str:
        return f"ApiKey({self.name!r}, {sorted(self.scopes)})"


def api_keys(text: str) -> dict[str, ApiKey]:
    """Return API keys by name, from ``name:scope+scope:secret,…``.

    Raises:
      ValueError: an entry is invalid. The message has its number, counted from 1, and nothing of its text: which part
        is the secret is not certain in an invalid entry.
    """
    keys: dict[str, ApiKey] = {}
    numbers: dict[str, int] = {}
    for number, entry in enumerate((p.strip() for p in text.split(",") if p.strip()), start=1):
        try:
            key = _key(entry)
        except ValueError as error:
            raise ValueError(f"expected name:scope+scope:secret,… but key {number} {error}") from None
        for other in keys.values():
            for what, same in (("name", other.name == key.name), ("secret", other.secret == key.secret)):
                if same:
                    raise ValueError(f"keys {numbers[other.name]} and {number} have the same {what}")
        keys[key.name], numbers[key.name] = key, number
    if not keys:
        raise ValueError("expected name:scope+scope:secret,… and found no key")
    return keys


def sendable(secret: str) -> str:
    """Return a secret that a client can send in a header.

    Raises:
      ValueError: it cannot; without its text.
    """
    problem = _unsendable(secret)
    if problem:
        raise ValueError(f"the secret {problem}")
    return secret


def _key(entry: str) -> ApiKey:
    if any(mark in entry for mark in "\r\n"):
        raise ValueError("has a line break: separate keys by commas")
    if entry[0] in _QUOTES or entry[0] == "\ufeff" or not entry.isprintable():
        raise ValueError("has a quote at its beginning, a byte order mark or a control character")
    pieces = entry.split(":", 2)
    if pieces[2:] == [] or not all(pieces):
        raise ValueError("is not of that form")
    name, scopes, secret = pieces
    if name != name.strip() or name[-1] in _QUOTES:
        raise ValueError("has a blank or a quote at the end of its name")
    if not set(scopes.split("+")) <= set(SCOPES):
        raise ValueError(f"has an unknown scope; known: {', '.join(SCOPES)}")
    if problem := _unsendable(secret):
        raise ValueError(f"cannot be sent by any client: its secret {problem}")
    if _ANOTHER.search(secret):
        raise ValueError("has another key in its secret: separate keys by commas")
    return ApiKey(name, frozenset(scopes.split("+")), secret)


def _unsendable(secret: str) -> str | None:
    """Return what a client or a proxy would change on the way, or could not send; None: nothing."""
    if not secret.strip():
        return "is blank"
    if "\ufeff" in secret or not secret.isprintable():
        return "has a control character or a byte order mark"
    if len(secret.encode()) > _LONGEST:
        return f"has more than {_LONGEST} bytes"
    # The receiver takes the bytes as latin-1 and removes blanks around them, which some other bytes are too.
    received = secret.encode().decode("latin-1")
    if received != received.strip():
        return "begins or ends with a blank"
    if secret[0] in _QUOTES or secret[-1] in _QUOTES:
        return "begins or ends with a quote, which is part of it: leave the quotes out"
    return None

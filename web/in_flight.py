"""Idempotency keys: read from a request, and held while its message is being taken."""

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from lockstep.checks import check_key
from lockstep.errors import InvalidMessage
from web.problems import Problem

#: A string of RFC 8941, and parameters of it, which mean nothing here.
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\s*(?:;.*)?')
_BARE: Final = re.compile(r"[\x21\x23-\x7e][\x20-\x7e]*")


def header_key(request: Request) -> str | None:
    """The key in the header ``Idempotency-Key``, in quotes as the IETF's draft has it or bare; None: there is none.

    Raises:
      Problem: 400, it is said twice, or is neither.
      InvalidMessage: it is too long.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    text = given[0].strip()
    quoted = _STRING.fullmatch(text)
    if len(given) > 1 or not (quoted or _BARE.fullmatch(text)):
        raise Problem(
            400, 'The header Idempotency-Key must be one text of ASCII, as in Idempotency-Key: "order-17".'
        )
    return check_key(re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text)


def check_same(header: str | None, field: object, pointer: str) -> None:
    """Return when header and field, where both are given, say the same.

    Raises:
      InvalidMessage: they do not.
    """
    if header is not None and field is not None and field != header:
        raise InvalidMessage(pointer, "the header Idempotency-Key says something else")


class InFlight:
    """The keys whose messages are being taken by this process.

    Another process decides by the script alone: one of two is written, the other gets its answer.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, keys: Iterable[str | None]) -> Iterator[None]:
        """Hold keys for as long as the block runs.

        Raises:
          Problem: 409, one of them is held: its first request has not been answered.
        """
        mine = {key for key in keys if key is not None}
        with self._guard:
            if self._keys & mine:
                raise Problem(
                    409, "A request with this idempotency key is being taken just now.", {"Retry-After": "1"}
                )
            self._keys |= mine
        try:
            yield
        finally:
            with self._guard:
                self._keys -= mine

"""Fingerprints: short texts that two things share when they say the same."""

import hashlib
from typing import Any, Final

import orjson

from lockstep.envelope import STRICT, current_encoder, exact

#: Bytes of a fingerprint: enough that two different things never share one by chance.
_BYTES: Final = 16


def print_of(value: dict[str, Any]) -> str:
    """The fingerprint of JSON, whatever the order of its members is.

    What only an encoder of one's own can say is taken as that encoder writes it, the order included.
    """
    try:
        said = orjson.dumps(exact(value), option=orjson.OPT_SORT_KEYS | STRICT)
    except (TypeError, ValueError):
        said = current_encoder().encode(value)
    return hashlib.sha256(said).hexdigest()[: 2 * _BYTES]

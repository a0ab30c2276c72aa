"""What is remembered of an error: its type, its text, a bounded traceback and its fingerprint, as JSON."""

import re
import sysconfig
import traceback
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Final

import orjson

#: Characters of an error's text and of its traceback, at most.
TEXT_LIMIT = 2_000
TRACEBACK_LIMIT = 8_000

#: What differs between two errors that are the same: each becomes one sign.
_VARYING: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE), "#"),
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"), "'#'"),
    (re.compile(r"0x[0-9a-f]+|\b(?=[a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE), "#"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "#"),
)

#: Where the code of others is.
_FOREIGN: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def encode(error: BaseException) -> bytes:
    """``{type, message, traceback, fingerprint}`` of an error; never raises, whatever its own methods do."""
    try:
        text = str(error)
    except Exception:
        text = "(the text of this error cannot be printed)"
    try:
        trace = "".join(traceback.format_exception(error, limit=-30))
    except Exception:
        trace = ""
    fields = {
        "type": type(error).__name__,
        "message": text[:TEXT_LIMIT],
        "traceback": trace[-TRACEBACK_LIMIT:],
        "fingerprint": fingerprint(type(error).__name__, text, error.__traceback__),
    }
    return orjson.dumps({name: value.encode("utf-8", "replace").decode() for name, value in fields.items()})


def kind_of(encoded: bytes, reason: str) -> tuple[str, str | None]:
    """Class and fingerprint of an encoded error; why a message died and None, when there was no error."""
    if not encoded:
        return reason, None
    fields = orjson.loads(encoded)
    return fields["type"], fields["fingerprint"]


def traceback_of(encoded: bytes) -> str:
    """Return the traceback of an encoded error; empty when it has none."""
    try:
        fields = orjson.loads(encoded)
    except ValueError:
        return ""
    trace = fields.get("traceback") if isinstance(fields, dict) else None
    return trace if isinstance(trace, str) else ""


def fingerprint(kind: str, text: str, trace: TracebackType | None) -> str:
    """The same few characters for errors that only differ in numbers, ids and quoted text.

    It is made of the error's class, its text without what varies, and the function of one's own that raised it or
    called who did. Line numbers do not count: the next release has others.
    """
    parts = "\0".join((kind, normalised(text), _place(trace)))
    return sha256(parts.encode("utf-8", "replace")).hexdigest()[:12]


def normalised(text: str) -> str:
    """The beginning of an error's text without numbers, ids and what is quoted."""
    text = text[:TEXT_LIMIT]
    for pattern, sign in _VARYING:
        text = pattern.sub(sign, text)
    return text


def _place(trace: TracebackType | None) -> str:
    """File and function of the innermost frame that is no library's; of the innermost one when all are."""
    place = own = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{Path(code.co_filename).name}:{code.co_name}"
        if not code.co_filename.startswith(_FOREIGN):
            own = place
        trace = trace.tb_next
    return own or place

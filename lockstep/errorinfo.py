"""What is remembered of an error: its type, its text and a bounded traceback, as JSON."""

import traceback

import orjson

#: Characters of an error's text and of its traceback, at most.
TEXT_LIMIT = 2_000
TRACEBACK_LIMIT = 8_000


def encode(error: BaseException) -> bytes:
    """``{type, message, traceback}`` of an error; never raises, whatever the error's own methods do."""
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
    }
    return orjson.dumps({name: value.encode("utf-8", "replace").decode() for name, value in fields.items()})

"""What the values of a message must be, however it is sent: over HTTP, by ``lockstep send`` or from Python.

Each check returns the value that it was given, or raises ``InvalidMessage`` with the field. Nothing is written here.
"""

import math
import re
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from dramatiq.common import q_name
from dramatiq.encoder import Encoder

from lockstep import parsing
from lockstep.errors import InvalidMessage

MAX_BATCH: Final = 1000  #: messages that are enqueued together
MAX_GROUP: Final = 256  #: characters
MAX_ID: Final = 128  #: characters
MAX_QUEUE: Final = 256  #: characters
MAX_KEY: Final = 255  #: characters of an idempotency key
MAX_DELAY_MS: Final = 52 * 7 * 86_400_000  #: milliseconds, 52 weeks
MAX_PAST_MS: Final = 86_400_000  #: milliseconds that an eta may be in the past: clocks and queues are late
MAX_ATTEMPTS: Final = 1000
MAX_PRIORITY: Final = 9

#: Names that are reserved for what comes later: refused, so that nobody relies on them by mistake.
RESERVED: Final = ("callback_url", "depends_on")

#: Those options of ``unique`` that are no duration, and what the scripts call them.
_UNIQUE: Final = {"until_started": "started", "until_finished": "finished"}

_MOST: Final = 2**63  #: above it, neither JSON nor Redis keep a whole number
_QUEUE: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")
_DOTS: Final = frozenset({".", ".."})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_group(group: object, pointer: str = "/group") -> str:
    """A group key: any non-empty text up to 256 characters, and nothing in it is special."""
    return check_text(group, MAX_GROUP, pointer)


def check_queue(name: object, pointer: str = "/queue") -> str:
    """The name of a queue, by Dramatiq's rule for actors; that of its delayed messages stands for the queue itself."""
    queue = q_name(check_text(name, MAX_QUEUE, pointer))
    if not _QUEUE.fullmatch(queue):
        raise InvalidMessage(pointer, "expected a letter or _, then letters, digits, '.', '_' and '-'")
    return queue


def check_id(message_id: object, pointer: str = "/id") -> str:
    """A client-made message id: 1 to 128 characters, none of them a control character."""
    text = check_text(message_id, MAX_ID, pointer)
    if _CONTROL.search(text):
        raise InvalidMessage(pointer, "control characters are not allowed")
    return text


def check_new_id(message_id: object, pointer: str = "/id") -> str:
    """The id of a new message: one that also works as the last segment of an address.

    ``.`` and ``..`` never do, however they are encoded: clients and proxies resolve them before they send.
    """
    text = check_id(message_id, pointer)
    if not _DOTS.isdisjoint(re.split(r"[/\\]", unquote(text))):
        raise InvalidMessage(
            pointer, "must not be or contain the path segments . or ..: its address would not work"
        )
    return text


def check_key(key: object, pointer: str = "/idempotency_key") -> str:
    """An idempotency key: 1 to 255 characters, none of them a control character."""
    text = check_text(key, MAX_KEY, pointer)
    if _CONTROL.search(text):
        raise InvalidMessage(pointer, "control characters are not allowed")
    return text


def check_delay(delay_ms: object, pointer: str = "/delay_ms") -> int:
    """Milliseconds, up to 52 weeks."""
    return check_whole(delay_ms, 0, MAX_DELAY_MS, pointer)


def rounded_up(value: object) -> object:
    """Return a number of milliseconds without its fraction, never sooner; anything else as it is."""
    return math.ceil(value) if type(value) is float and 0 <= value < math.inf else value


def check_eta(eta: object, pointer: str = "/eta") -> int:
    """Milliseconds since 1970; this clock only bounds them, it does not decide when the message is due.

    A time of long ago is a mistake, such as seconds instead of milliseconds: the message would run at once.
    """
    value, now = check_ms(eta, pointer), time.time() * 1000
    if value > now + MAX_DELAY_MS:
        raise InvalidMessage(pointer, "expected a time since 1970 and at most 52 weeks ahead")
    if value < now - MAX_PAST_MS:
        when = datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="seconds")
        seconds = now - MAX_PAST_MS <= value * 1000 <= now + MAX_DELAY_MS
        hint = (
            "it looks like seconds: give milliseconds since 1970"
            if seconds
            else "give milliseconds since 1970"
        )
        raise InvalidMessage(pointer, f"{when} is more than a day in the past; {hint}, or leave it out")
    return int(value)


def check_timestamp(value: object, pointer: str = "/message_timestamp") -> int:
    """Milliseconds since 1970 at which a message was made; a fraction is dropped."""
    return int(check_ms(value, pointer))


def check_attempts(value: object, pointer: str = "/max_attempts") -> int:
    """How often a message may be tried."""
    return check_whole(value, 1, MAX_ATTEMPTS, pointer)


def check_priority(value: object, pointer: str = "/priority") -> int:
    """A priority among ready groups; 0 is the first."""
    return check_whole(value, 0, MAX_PRIORITY, pointer)


def check_truth(value: object, pointer: str) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise InvalidMessage(pointer, f"expected true or false, got {kind(value)}")
    return value


def check_retention(value: object, pointer: str = "/retention") -> int:
    """How long the record of a done message is kept: milliseconds, or a duration such as ``7d``; 0: not at all."""
    if isinstance(value, str):
        try:
            value = round(parsing.duration(value) * 1000)
        except ValueError as error:
            raise InvalidMessage(pointer, str(error)) from None
    return check_whole(value, 0, MAX_DELAY_MS, pointer)


def check_unique(value: object, pointer: str = "/unique") -> str | int:
    """Until when a message keeps others out: ``started``, ``finished`` or a number of milliseconds."""
    if isinstance(value, str) and value in _UNIQUE:
        return _UNIQUE[value]
    try:
        period = parsing.duration(value) if isinstance(value, str) else 0
    except ValueError:
        period = 0
    if not 0 < period * 1000 <= MAX_DELAY_MS:
        raise InvalidMessage(
            pointer, "expected until_started, until_finished or a duration such as 10m, up to 52 weeks"
        )
    return max(1, round(period * 1000))


def check_text(value: object, most: int | None, pointer: str) -> str:
    """A text of 1 to ``most`` characters that UTF-8 can say."""
    if type(value) is not str:  # an enumeration or another subclass may print as something else
        raise InvalidMessage(pointer, f"expected text, got {kind(value)}")
    if not value or (most is not None and len(value) > most):
        limit = f"up to {most} characters" if most else "a name"
        raise InvalidMessage(pointer, f"expected {limit}, at least one; got {len(value)}")
    if _unpaired(value):
        raise InvalidMessage(pointer, "an unpaired surrogate is no text")
    return value


def check_ms(value: object, pointer: str) -> int | float:
    """Return a number of milliseconds, not negative, that JSON and Redis can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        raise InvalidMessage(pointer, "expected a number of milliseconds, 0 or more")
    return value


def check_maker(value: object, pointer: str) -> object:
    """A format or a function, which makes a key of the arguments."""
    if type(value) is not str and not callable(value):
        raise InvalidMessage(pointer, f"expected a format or a function, got {kind(value)}")
    return value


def check_whole(value: object, least: int, most: int, pointer: str) -> int:
    """A whole number from ``least`` to ``most``."""
    if type(value) is not int or not least <= value <= most:
        raise InvalidMessage(pointer, f"expected a whole number from {least} to {most}")
    return value


def find_unstorable(message: Any, encoder: Encoder) -> str:
    """The pointer to what keeps a message from being encoded."""
    for pointer, value in (("/args", message.args), ("/kwargs", message.kwargs), ("", message.options)):
        if not _storable(value, encoder):
            return _find_unstorable(value, pointer, encoder)
    return ""


def member(pointer: str, name: object) -> str:
    """The pointer to a member of an object; to the object itself when the name is no use to a reader."""
    if not isinstance(name, str) or len(name) > MAX_ID or _unpaired(name):
        return pointer
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def kind(value: object) -> str:
    """What a value is called in JSON; that of a type which JSON has not, by its name."""
    names = {dict: "an object", list: "an array", tuple: "an array", str: "text", bool: "a boolean"}
    names |= {type(None): "null", int: "a number", float: "a number"}
    return names.get(type(value)) or f"a value of type {type(value).__name__}"


def _unpaired(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _find_unstorable(value: object, pointer: str, encoder: Encoder) -> str:
    for _ in range(32):  # deeper, the pointer would help nobody, and each level costs an encoding
        for name, child in _children(value):
            if not _storable(child, encoder):
                value, pointer = child, member(pointer, name)
                break
        else:
            break
    return pointer


def _children(value: object) -> list[tuple[object, object]]:
    if isinstance(value, dict):
        return list(value.items())
    return [(str(index), item) for index, item in enumerate(value)] if isinstance(value, list | tuple) else []


def _storable(value: Any, encoder: Encoder) -> bool:
    try:
        encoder.encode(value)
    except Exception:
        return False
    return True

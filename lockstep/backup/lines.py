"""The lines of an export: a head, then one message a line. Reading checks every field."""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lockstep.checks import check_group, check_id, check_text, check_truth, check_whole, kind
from lockstep.errors import InvalidMessage
from lockstep.states import MessageState
from lockstep.strictjson import parse_json

VERSION: Final = 1

#: States that a line may have: what ran waits at its place.
STATES: Final = (MessageState.WAITING, MessageState.SCHEDULED, MessageState.BACKOFF, MessageState.DEAD)

_MOST: Final = 2**53  #: above it, scripts do not keep a whole number

#: What an attempt is, in the order of the row.
_ATTEMPT: Final = ("worker", "started_ms", "ended_ms", "outcome", "error")

#: Whole numbers of a line.
_NUMBERS: Final = ("sequence", "enqueued_ms", "failures", "crashes", "parked_ms", "died_ms")


@dataclass(frozen=True, slots=True)
class Restorable:
    """One message of an export, as the script puts it back."""

    queue: str
    group: str | None
    id: str
    actor: str
    payload: bytes
    facts: dict[str, Any]

    @property
    def ref(self) -> str:
        """Its group; of one in which several may run at once, each message stands for itself."""
        single = self.group is None or "slots" in self.facts.get("extra", {})
        return f"m:{self.id}" if single else f"g:{self.group}"


# -- writing ----------------------------------------------------------------------------------------------------


def write_head(at_ms: int, highest: int) -> bytes:
    """The first line. ``highest`` is the highest sequence of any message."""
    return _line({"lockstep_export": VERSION, "at_ms": at_ms, "highest_sequence": highest})


def write_message(queue: str, message_id: str, reply: list[Any]) -> bytes:
    """A line from what ``export.lua`` answers about a message."""
    _, state, ref, actor, payload, sequence, enqueued, failures, crashes, parked, attempts, due, *rest = reply
    died, reason, blocks, blocks_now, extra = rest
    told = orjson.loads(extra) if extra else {}
    known = MessageState(state.decode())
    waits = known is MessageState.RUNNING
    view = {
        "id": message_id,
        "queue": queue,
        "group": told.pop("group", None) or (ref[2:].decode() if ref.startswith(b"g:") else None),
        "actor": actor.decode(),
        "state": MessageState.WAITING.value if waits else known.value,
        "sequence": sequence,
        "enqueued_ms": enqueued,
        "due_ms": int(float(due)) if due else None,
        "failures": failures,
        "crashes": crashes,
        "parked_ms": parked,
        "died_ms": died,
        "reason": reason.decode(),
        "blocks": blocks == 1,
        "blocks_now": blocks_now == 1,
        "attempts": [_attempt(one) for one in attempts],
        "extra": told,
        **_payload(payload),
    }
    return _line(view)


def _line(view: dict[str, Any]) -> bytes:
    return orjson.dumps(view) + b"\n"


def _payload(payload: bytes) -> dict[str, Any]:
    """As JSON where that comes back byte for byte, else as base64."""
    try:
        value = orjson.loads(payload)
        if orjson.dumps(value) == payload:
            return {"payload": value}
    except ValueError:
        pass
    return {"payload_base64": base64.b64encode(payload).decode()}


def _attempt(attempt: list[Any]) -> dict[str, Any]:
    worker, started, ended, outcome, error = attempt
    try:
        told = orjson.loads(error) if error else None
    except ValueError:
        told = error.decode("utf-8", "replace")
    return dict(zip(_ATTEMPT, (worker.decode(), started, ended, outcome.decode(), told), strict=True))


# -- reading ----------------------------------------------------------------------------------------------------


def read_head(line: bytes) -> int:
    """The highest sequence of the export.

    Raises:
      InvalidMessage: it is no first line of an export of this version.
    """
    head = _object(line)
    if head.get("lockstep_export") != VERSION:
        raise InvalidMessage("/lockstep_export", f"expected the first line of an export, with {VERSION}")
    return check_whole(head.get("highest_sequence"), 0, _MOST, "/highest_sequence")


def read_message(line: bytes) -> Restorable:
    """A message.

    Raises:
      InvalidMessage: with the field that is wrong.
    """
    view = _object(line)
    state = view.get("state")
    if state not in STATES:
        raise InvalidMessage("/state", f"expected one of {', '.join(STATES)}")
    group = view.get("group")
    facts = {
        "state": state,
        **{_fact(name): check_whole(view.get(name), 0, _MOST, f"/{name}") for name in _NUMBERS},
        "reason": _text(view.get("reason"), "/reason"),
        "blocks": int(check_truth(view.get("blocks"), "/blocks")),
        "heads": int(check_truth(view.get("blocks_now"), "/blocks_now")),
        "attempts": [
            _read_attempt(one, f"/attempts/{place}")
            for place, one in enumerate(_of_type(view.get("attempts"), list, "an array", "/attempts"))
        ],
        "extra": _extra(view, group),
    }
    if view.get("due_ms") is not None or state == MessageState.SCHEDULED:
        facts["due"] = check_whole(view.get("due_ms"), 0, _MOST, "/due_ms")
    if state == MessageState.DEAD and not facts["died"]:
        raise InvalidMessage("/died_ms", "expected when it died")
    return Restorable(
        queue=check_text(view.get("queue"), 128, "/queue"),
        group=None if group is None else check_group(group),
        id=check_id(view.get("id")),
        actor=_text(view.get("actor"), "/actor"),
        payload=_read_payload(view),
        facts=facts,
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise InvalidMessage("", f"not JSON: {error}") from None
    return dict(_of_type(value, dict, "an object", ""))


def _fact(name: str) -> str:
    return name.removesuffix("_ms")


def _of_type(value: Any, wanted: type, name: str, pointer: str) -> Any:
    if not isinstance(value, wanted):
        raise InvalidMessage(pointer, f"expected {name}, got {kind(value)}")
    return value


def _text(value: object, pointer: str) -> str:
    """Text that may be empty."""
    return "" if value == "" else check_text(value, None, pointer)


def _extra(view: Mapping[str, Any], group: object) -> dict[str, Any]:
    extra = dict(_of_type(view.get("extra"), dict, "an object", "/extra"))
    for name, check in _EXTRAS.items():
        if name in extra:
            check(extra[name], f"/extra/{name}")
    if "slots" in extra:
        extra["group"] = group
    return extra


def _words(value: object, pointer: str) -> None:
    for place, word in enumerate(_of_type(value, list, "an array", pointer)):
        check_text(word, 128, f"{pointer}/{place}")


def _rates(value: object, pointer: str) -> None:
    if value != "":
        check_text(value, None, pointer)


def _unique(value: object, pointer: str) -> None:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):  # noqa: PLR2004
        raise InvalidMessage(pointer, "expected what it is unique by, and until when")


_EXTRAS: Final[dict[str, Callable[[Any, str], object]]] = {
    "priority": lambda value, pointer: check_whole(value, 0, 9, pointer),
    "due": lambda value, pointer: check_whole(value, 0, _MOST, pointer),
    "limit": lambda value, pointer: check_text(value, None, pointer),
    "rates": _rates,
    "slots": lambda value, pointer: check_whole(value, 1, _MOST, pointer),
    "words": _words,
    "unique": _unique,
}


def _read_attempt(value: Any, pointer: str) -> list[Any]:
    attempt = _of_type(value, dict, "an object", pointer)
    error = attempt.get("error")
    return [
        _text(attempt.get("worker"), f"{pointer}/worker"),
        check_whole(attempt.get("started_ms"), 0, _MOST, f"{pointer}/started_ms"),
        check_whole(attempt.get("ended_ms"), 0, _MOST, f"{pointer}/ended_ms"),
        _text(attempt.get("outcome"), f"{pointer}/outcome"),
        "" if error is None else error if isinstance(error, str) else orjson.dumps(error).decode(),
    ]


def _read_payload(view: Mapping[str, Any]) -> bytes:
    encoded = view.get("payload_base64")
    if encoded is None:
        if "payload" not in view:
            raise InvalidMessage("/payload", "expected it, or payload_base64")
        return orjson.dumps(view["payload"])
    try:
        return base64.b64decode(_text(encoded, "/payload_base64"), validate=True)
    except binascii.Error as error:
        raise InvalidMessage("/payload_base64", f"not base64: {error}") from None

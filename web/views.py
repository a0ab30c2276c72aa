"""What records look like from outside."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from lockstep import metrics
from lockstep.records import Attempt, MessageRecord, QueueCounts
from lockstep.states import MessageState


class Json(Response):
    """A JSON answer; text that is no Unicode is escaped instead of failing."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Encode ``content``."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def rfc3339(ms: int | None) -> str | None:
    """A time given in milliseconds since 1970; None stays None."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_view(record: MessageRecord) -> dict[str, Any]:
    """One message with its arguments, every attempt and its result."""
    return {
        "id": record.id,
        "state": record.state,
        "actor": record.actor,
        "queue": record.queue,
        "group": record.group,
        "sequence": record.sequence,
        "position": record.position,
        "enqueued_at": rfc3339(record.enqueued_ms),
        "due_at": rfc3339(record.due_ms),
        "crashes": record.crashes,
        "reason": record.reason,
        "attempts": [_attempt_view(attempt) for attempt in record.attempts],
        "result": _decoded(record.result) if record.result is not None else None,
        **_payload_view(record.payload),
    }


def _attempt_view(attempt: Attempt) -> dict[str, Any]:
    return {
        "worker": attempt.worker,
        "started_at": rfc3339(attempt.started_ms),
        "ended_at": rfc3339(attempt.ended_ms),
        "outcome": attempt.outcome,
        "error": attempt.error,
    }


def _payload_view(payload: bytes) -> dict[str, Any]:
    """The arguments; the raw bytes instead, when they are not those of a message."""
    message = _decoded(payload)
    if isinstance(message, dict) and "args" in message and "kwargs" in message:
        return {"args": message["args"], "kwargs": message["kwargs"]}
    return {"args": None, "kwargs": None, "payload_base64": base64.b64encode(payload).decode("ascii")}


def _decoded(data: bytes) -> Any:
    """The JSON value in ``data``; None when it is none. NaN becomes text, since JSON has no such number."""
    try:
        return json.loads(data, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def queue_view(counts: QueueCounts) -> dict[str, Any]:
    """One queue in numbers: what is there now, and what happened since it exists."""
    return {
        "name": counts.queue,
        "messages": counts.messages,
        "groups": counts.groups,
        "oldest_seconds": None if counts.oldest_ms is None else counts.oldest_ms / 1000,
        "totals": {
            "enqueued": _total(counts, metrics.ENQUEUED),
            "deduplicated": _total(counts, metrics.DEDUPLICATED),
            "lease_lost": _total(counts, metrics.LEASE_LOST),
            "reaped": _total(counts, metrics.REAPED),
            "attempts": {outcome: _attempts(counts, outcome) for outcome in metrics.OUTCOMES},
        },
    }


def _total(counts: QueueCounts, name: str) -> int:
    return sum(
        number for field, number in counts.stats.items() if field == name or field.startswith(f"{name}|")
    )


def _attempts(counts: QueueCounts, outcome: str) -> int:
    return sum(
        number
        for field, number in counts.stats.items()
        if field.startswith(f"{metrics.ATTEMPTS}|") and field.endswith(f"|{outcome}")
    )


def status_view(counts: list[QueueCounts]) -> dict[str, Any]:
    """All queues under the field names that operators of older queue systems know."""
    queues = {one.queue: _old_names(one) for one in counts}
    totals = {name: sum(queue[name] for queue in queues.values()) for name in _OLD_NAMES}
    return {**totals, "queues": queues}


_OLD_NAMES = {
    "waiting": (MessageState.WAITING,),
    "active": (MessageState.RUNNING,),
    "completed": (MessageState.DONE,),
    "failed": (MessageState.DEAD,),
    "delayed": (MessageState.SCHEDULED, MessageState.BACKOFF),
}


def _old_names(counts: QueueCounts) -> dict[str, int]:
    return {
        name: sum(counts.messages.get(state, 0) for state in states) for name, states in _OLD_NAMES.items()
    }

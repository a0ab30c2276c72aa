"""Records as plain values, with the names that the HTTP API uses."""

import json
from datetime import UTC, datetime
from typing import Any

from lockstep.records import Attempt, MessageRecord, QueueCounts


def message_view(record: MessageRecord) -> dict[str, Any]:
    """One message with its attempts."""
    return {
        "id": record.id,
        "state": record.state.value,
        "actor": record.actor,
        "queue": record.queue,
        "group": record.group,
        "sequence": record.sequence,
        "enqueued_at": _time(record.enqueued_ms),
        "due_at": _time(record.due_ms),
        "position": record.position,
        "crashes": record.crashes,
        "reason": record.reason,
        "attempts": [_attempt_view(attempt) for attempt in record.attempts],
        "result": _decoded(record.result),
    }


def queue_view(counts: QueueCounts) -> dict[str, Any]:
    """One queue in numbers, with the consumers that claim from it and the seconds since each was seen."""
    return {
        "name": counts.queue,
        "messages": {state.value: number for state, number in counts.messages.items()},
        "groups": {state.value: number for state, number in counts.groups.items()},
        "oldest_seconds": _seconds(counts.oldest_ms),
        "claimers": {claimer: _seconds(age_ms) for claimer, age_ms in counts.claimers.items()},
    }


def _attempt_view(attempt: Attempt) -> dict[str, Any]:
    return {
        "worker": attempt.worker,
        "started_at": _time(attempt.started_ms),
        "ended_at": _time(attempt.ended_ms),
        "outcome": attempt.outcome,
        "error": attempt.error,
    }


def _decoded(result: bytes | None) -> Any:
    """What the actor returned; bytes that are no JSON as text."""
    try:
        return None if result is None else json.loads(result)
    except (ValueError, RecursionError):
        return repr(result)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _time(milliseconds: int | None) -> str | None:
    """RFC 3339, in UTC."""
    if milliseconds is None:
        return None
    return (
        datetime.fromtimestamp(milliseconds / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )

"""Records as plain values, with the names that HTTP and the commands show."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from lockstep import clean, cron, metrics
from lockstep.intake import IntakeStatus
from lockstep.limitstore import Limit
from lockstep.listing import Listed
from lockstep.records import Attempt, Death, MessageRecord, QueueCounts
from lockstep.schedules import ScheduleList
from lockstep.states import MessageState


def message_view(record: MessageRecord) -> dict[str, Any]:
    """One message with every attempt, its result and its arguments."""
    return {
        "id": record.id,
        "state": record.state.value,
        "actor": record.actor,
        "queue": record.queue,
        "group": record.group,
        "sequence": record.sequence,
        "position": record.position,
        "enqueued_at": rfc3339(record.enqueued_ms),
        "due_at": rfc3339(record.due_ms),
        "crashes": record.crashes,
        "reason": record.reason,
        "death": _death_view(record.death),
        "redriven": record.redriven,
        "attempts": [_attempt_view(attempt) for attempt in record.attempts],
        # Of a dead letter it is Dramatiq's own record of the error, which ``death`` and ``attempts`` have.
        "result": _decoded(record.result) if record.result and record.state is MessageState.DONE else None,
        **_payload_view(record.payload),
    }


def listed_view(listed: Listed) -> dict[str, Any]:
    """One message of a list."""
    return {
        "id": listed.id,
        "state": listed.state.value,
        "actor": listed.actor,
        "queue": listed.queue,
        "group": listed.group,
        "sequence": listed.sequence,
        "enqueued_at": rfc3339(listed.enqueued_ms),
        "due_at": rfc3339(listed.due_ms),
        "failures": listed.failures,
        "crashes": listed.crashes,
        "error": listed.error,
    }


def queue_view(counts: QueueCounts) -> dict[str, Any]:
    """One queue in numbers: what is there, who claims from it (seconds since it was seen), what happened so far."""
    return {
        "name": counts.queue,
        "paused": counts.paused,
        "messages": {state.value: number for state, number in counts.messages.items()},
        "groups": {state.value: number for state, number in counts.groups.items()},
        "oldest_seconds": None if counts.oldest_ms is None else counts.oldest_ms / 1000,
        "claimers": {claimer: age_ms / 1000 for claimer, age_ms in counts.claimers.items()},
        "totals": {
            "enqueued": _total(counts, metrics.ENQUEUED),
            "deduplicated": _total(counts, metrics.DEDUPLICATED),
            "cancelled": _total(counts, metrics.CANCELLED),
            "lease_lost": _total(counts, metrics.LEASE_LOST),
            "reaped": _total(counts, metrics.REAPED),
            "attempts": {outcome: _attempts(counts, outcome) for outcome in metrics.OUTCOMES},
        },
    }


def schedules_view(listing: ScheduleList) -> dict[str, Any]:
    """Every schedule with its last and next run, and the schedulers that live (seconds since they were heard of)."""
    return {
        "items": [
            {
                "name": record.schedule.actor,
                "expression": record.schedule.expression,
                "catch_up": str(record.schedule.catch_up),
                "alive": record.alive,
                "last_tick_at": rfc3339(record.tick_ms),
                "last_run_at": rfc3339(record.fired_ms),
                "last_message_id": record.message_id,
                "next_at": rfc3339(_next_tick(record.schedule.expression, listing.now_ms)),
            }
            for record in listing.records
        ],
        "schedulers": [
            {"name": name, "seen_seconds": age_ms / 1000} for name, age_ms in listing.schedulers.items()
        ],
    }


def _next_tick(expression: str, now_ms: int) -> int | None:
    """The next tick of a schedule; None where this release cannot read the expression that another one declared."""
    try:
        return cron.next_tick(expression, now_ms)
    except Exception:  # the parsers raise whatever they stumble over
        return None


def limit_view(limit: Limit) -> dict[str, Any]:
    """One limit and how it is used."""
    return {
        "name": limit.name,
        "rates": [str(rate) for rate in limit.rates],
        "concurrency": limit.concurrency,
        "sources": limit.sources,
        "running": limit.running,
        "waiting_groups": limit.waiting,
        "held_seconds": limit.held_ms / 1000,
    }


def intake_view(status: IntakeStatus) -> dict[str, Any]:
    """How the intake is switched."""
    return {"accept": status.accept, "since": rfc3339(status.since_ms), "why": status.why}


def rfc3339(ms: int | None) -> str | None:
    """A time given in milliseconds since 1970; None stays None, and a time that no calendar has becomes None."""
    if ms is None or not 0 <= ms <= clean.LAST_MS:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _death_view(death: Death | None) -> dict[str, Any] | None:
    if death is None:
        return None
    return {
        "at": rfc3339(death.died_ms),
        "error": death.error,
        "fingerprint": death.fingerprint,
        "message": death.message,
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

"""Reads the replies of the scripts into records; the order of the fields is that of each script's header."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from lockstep import clean
from lockstep.errors import IdempotencyConflict, IntakeOff, LockstepError, QueueFull
from lockstep.records import (
    Accepted,
    Attempt,
    Claim,
    Death,
    Lease,
    MessageRecord,
    NewMessage,
    QueueCounts,
    Reaped,
)
from lockstep.states import GroupState, MessageState

_COUNTED_MESSAGES = (
    MessageState.SCHEDULED,
    MessageState.WAITING,
    MessageState.RUNNING,
    MessageState.BACKOFF,
    MessageState.DONE,
    MessageState.DEAD,
    MessageState.CANCELLED,
)
#: Of an enqueue: the message was written; it was asked for before.
_NEW = 0
_REPEAT = 1

_COUNTED_GROUPS = (GroupState.READY, GroupState.LEASED, GroupState.BLOCKED, GroupState.PAUSED)

#: Of a claim: what is ready is beyond the claimer's share.
_BEYOND_SHARE = 2


def _pairs(flat: list[bytes | int]) -> dict[str, int]:
    return {
        clean.text(bytes(key), 2000): int(value) for key, value in zip(flat[::2], flat[1::2], strict=True)
    }


def accepted(message_id: str, reply: list[Any]) -> Accepted:
    """The answer of ``enqueue`` for one message."""
    kind, sequence, state, *known_as = reply
    message_id = known_as[0].decode() if known_as else message_id
    return Accepted(message_id, MessageState(state.decode()), sequence or None, kind != _NEW, kind == _REPEAT)


def refusal(
    reply: list[Any], messages: Sequence[NewMessage], places: Sequence[int], most: int
) -> LockstepError:
    """The error of an ``enqueue`` that wrote nothing; ``places`` are those of its messages in the whole call."""
    match reply[0]:
        case b"off":
            return IntakeOff(int(reply[1]), clean.text(reply[2]))
        case b"full":
            return QueueFull(reply[1], most)
        case b"conflict":
            kind = list(messages[reply[1] - 1].known_by)[reply[2] - 1].partition(":")[0]
            field = "/id" if kind == "id" else "/idempotency_key"
            return IdempotencyConflict(field, places[reply[1] - 1])
    raise AssertionError(reply)


def lease(reply: list[Any]) -> Lease:
    """One lease of a ``claim``."""
    (
        ref,
        token,
        message_id,
        actor,
        payload,
        sequence,
        failures,
        crashes,
        enqueued,
        parked,
        within,
        *failure,
    ) = reply
    return Lease(
        ref=ref.decode(),
        token=token.decode(),
        fence=int(token[9:25]),
        id=message_id.decode(),
        actor=actor.decode(),
        payload=payload,
        sequence=sequence,
        failures=failures,
        crashes=crashes,
        enqueued_ms=enqueued,
        parked_ms=parked,
        within_ms=within,
        failed_ms=failure[0] if failure else 0,
        failure=failure[1] if failure else b"",
    )


def reaped(reply: list[Any]) -> Reaped:
    """The answer of ``reap``."""
    extended, due, retried, dead, new, cancelled, cancelling, owed = reply
    ids = [[one.decode() for one in some] for some in (retried, dead, cancelled, cancelling)]
    return Reaped(ids[0], ids[1], extended, due, new == 1, ids[2], ids[3], list(owed))


def _attempt(reply: list[Any]) -> Attempt:
    worker, started, ended, outcome, error = reply
    return Attempt(
        worker=clean.text(worker),
        started_ms=int(started),
        ended_ms=int(ended) if ended != b"" else None,
        outcome=clean.text(outcome),
        error=orjson.loads(error) if error else None,
    )


def _due(score: bytes | None) -> int | None:
    return int(float(score)) if score and score != b"inf" else None


def message_record(message_id: str, queue: str, reply: list[Any]) -> MessageRecord:
    """The answer of ``inspect``."""
    state, ref, actor, payload, sequence, enqueued, crashes, reason, due, position, result = reply[:11]
    attempts, redriven, died, *death = reply[11:]
    return MessageRecord(
        id=message_id,
        queue=queue,
        actor=actor.decode(),
        state=MessageState(state.decode()),
        group=ref[2:].decode() if ref.startswith(b"g:") else None,
        sequence=sequence or None,
        enqueued_ms=enqueued,
        due_ms=_due(due),
        position=None if position < 0 else position,
        attempts=[_attempt(attempt) for attempt in attempts],
        crashes=crashes,
        reason=reason.decode() or None,
        payload=payload,
        result=result,
        death=_death(died, *death) if died else None,
        redriven=redriven,
    )


def _death(died: int, error: bytes, fingerprint: bytes, message: bytes) -> Death:
    return Death(
        died_ms=died,
        error=error.decode("utf-8", "replace"),
        fingerprint=fingerprint.decode() or None,
        message=message.decode("utf-8", "replace") or None,
    )


def queue_counts(queue: str, shards: list[list[Any]]) -> QueueCounts:
    """The answers of ``counts`` of all shards of a queue, added up."""
    messages: Counter[MessageState] = Counter(dict.fromkeys(_COUNTED_MESSAGES, 0))
    groups: Counter[GroupState] = Counter(dict.fromkeys(_COUNTED_GROUPS, 0))
    stats: Counter[str] = Counter()
    claimers: dict[str, int] = {}
    dead: Counter[str] = Counter()
    ages = []
    for reply in shards:
        for state, number in zip(_COUNTED_MESSAGES, reply[:7], strict=True):
            messages[state] += number
        for group_state, number in zip(_COUNTED_GROUPS, reply[7:11], strict=True):
            groups[group_state] += number
        ages.append(reply[11])
        stats.update(_pairs(reply[12]))
        claimers.update(_pairs(reply[13]))
        dead.update(_pairs(reply[15]))
    oldest = max(ages)
    return QueueCounts(
        queue=queue,
        messages=dict(messages),
        groups=dict(groups),
        oldest_ms=None if oldest < 0 else oldest,
        stats=dict(stats),
        claimers=claimers,
        paused=all(reply[14] == 1 for reply in shards),
        dead=dict(dead),
    )


def claim(reply: list[Any]) -> Claim:
    """The answer of ``claim``."""
    now, more, due = reply[:3]
    leases = [lease(one) for one in reply[3:]]
    return Claim(
        now_ms=now,
        leases=leases,
        more=more > 0,
        shared=more == _BEYOND_SHARE,
        next_due_ms=None if due < 0 else math.ceil(due),
    )

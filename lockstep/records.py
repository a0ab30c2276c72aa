"""The values that cross the boundary between the store and everybody else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from lockstep.states import GroupState, MessageState, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message on its way in: its payload is opaque bytes to the store."""

    id: str
    actor: str
    payload: bytes
    group: str | None = None
    delay_ms: int = 0  #: milliseconds until it joins its group, by the server's clock
    eta_ms: int | None = None  #: or the time at which it joins, milliseconds since 1970 by the server's clock
    blocks: bool = False  #: its death blocks its group until an operator acts
    extra: Mapping[str, object] = field(
        default_factory=dict
    )  #: what few messages have (``lua/includes/row.lua``)
    known_by: Mapping[str, str] = field(
        default_factory=dict
    )  #: ``key:`` or ``id:`` and the client's text -> fingerprint of what is asked under it
    unique_by: str | None = None  #: what it is the only one by: without a group, that decides its shard


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to an enqueue: the message is in Redis."""

    id: str
    state: MessageState
    sequence: int | None  #: place in the order of acceptance of its shard; None while it is scheduled
    duplicate: bool  #: nothing was written: ``id`` is that of the message that is there already
    replayed: bool = False  #: because the same was asked before; else another message keeps this one out


class Lease(NamedTuple):
    """A claimed message and the proof that it is ours."""

    ref: str
    token: str
    fence: int  #: rises with every claim of the group, for the actor's own conditional writes
    id: str
    actor: str
    payload: bytes
    sequence: int
    failures: int  #: attempts that failed before this one
    crashes: int  #: earlier deliveries whose worker died or lost its lease
    enqueued_ms: int  #: server time
    parked_ms: int  #: server time since when its actor is unknown here; 0: it is not
    within_ms: int = (
        0  #: it must start so soon, for a limit counts it; 0: no limit, -1: it must be dated anew
    )

    failed_ms: int = 0  #: server time at which it failed last, when it is retried
    failure: bytes = b""  #: the error of that as JSON

    @property
    def group(self) -> str | None:
        """The group key; None for a message without a group."""
        return self.ref[2:] if self.ref.startswith("g:") else None


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: heads of groups, and when to look again if there is no wake-up."""

    now_ms: int  #: server time
    leases: list[Lease]
    more: bool  #: other groups are ready
    shared: bool  #: they are beyond the claimer's share: others may take them first
    next_due_ms: int | None  #: milliseconds from now until something falls due; None: nothing will


class Settlement(NamedTuple):
    """How one lease ends."""

    ref: str
    token: str
    id: str
    verb: Verb
    delay_ms: int = 0  #: of a retry, or of a release that must not run again at once
    error: bytes = b""  #: the attempt's error as JSON ``{type, message, traceback}``; empty: none
    reason: str = ""  #: why it is dead or released
    park: bool = False  #: of a release: the actor is unknown here
    result: bytes | None = None  #: what the actor returned, encoded
    result_ttl_ms: int = 0
    follow_ups: tuple[bytes, ...] = ()  #: entries for the outbox, if it is done as asked


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one run of the reaper did."""

    retried: list[str]  #: ids put back at the head of their groups
    dead: list[str]  #: ids whose worker died with them too often
    extended: int  #: expired leases that were extended because nobody could renew them
    due: int  #: messages and groups whose time came
    new: bool = False  #: the claimer was not known: it is new, or Redis lost its data
    cancelled: list[str] = field(
        default_factory=list
    )  #: ids that were to be cancelled when their worker died
    cancelling: list[str] = field(
        default_factory=list
    )  #: tokens of leases, of any worker, whose messages are to be cancelled
    owed: list[bytes] = field(default_factory=list)  #: entries of the outbox that nobody delivered in time


class Renewal(IntEnum):
    """What became of the renewal of a lease; only a lease that is lost is false."""

    LOST = 0  #: the token holds no lease
    RENEWED = 1
    CANCELLING = 2  #: renewed, but its message is to be cancelled


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a message, as it is remembered."""

    worker: str
    started_ms: int
    ended_ms: int | None  #: None: it is running
    outcome: str  #: running, done, retry, dead, released or crashed
    error: dict[str, str] | None  #: type, message, traceback


@dataclass(frozen=True, slots=True)
class Death:
    """What a dead letter died of; its actor, the error and the fingerprint are its kind."""

    died_ms: int
    error: str  #: class of the error; why it died, when there was none
    fingerprint: str | None
    message: str | None  #: of the error


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """Everything that is known about one message."""

    id: str
    queue: str
    actor: str
    state: MessageState
    group: str | None
    sequence: int | None
    enqueued_ms: int
    due_ms: int | None  #: of scheduled and backoff
    position: int | None  #: messages of its group before it; None: not waiting, or beyond 1,000
    attempts: list[Attempt]
    crashes: int
    reason: str | None  #: of a dead letter
    payload: bytes
    result: bytes | None
    death: Death | None = None  #: of a dead letter
    redriven: int = 0  #: how often it was a dead letter and was redriven


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """One queue in numbers, read without a scan."""

    queue: str
    messages: dict[MessageState, int]
    groups: dict[GroupState, int]
    oldest_ms: int | None  #: age in milliseconds of the head that has been ready longest
    stats: dict[str, int] = field(default_factory=dict)  #: counters since the queue exists
    claimers: dict[str, int] = field(default_factory=dict)  #: consumer -> milliseconds since it reaped
    paused: bool = False  #: an operator stopped it
    dead: dict[str, int] = field(default_factory=dict)  #: actor -> its dead letters


__all__ = [
    "Accepted",
    "Attempt",
    "Claim",
    "Death",
    "Lease",
    "MessageRecord",
    "NewMessage",
    "QueueCounts",
    "Reaped",
    "Renewal",
    "Settlement",
    "Verb",
]

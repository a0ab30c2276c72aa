"""One consumer's side of one shard: settle what ended and claim what is next, in one round trip.

A request whose answer was lost is kept and sent again unchanged until it is answered: the scripts know it by its
numbers, so a settlement is never taken for a stale one, and no claimed message is orphaned.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lockstep import replies, scripts
from lockstep.errors import LockstepError, RedisUnavailable, ScriptFailed
from lockstep.keys import ShardKeys, global_key
from lockstep.link import Call, Link
from lockstep.records import Claim, Settlement
from lockstep.refusals import unavailable
from lockstep.settings import Settings
from lockstep.states import Verb

#: Times, and seconds (at least one lease), after which a settle that a script refuses each time is given up.
_PATIENCE_TIMES: Final = 5
_PATIENCE_SECONDS: Final = 30.0

#: A settlement's answer: the message was to be cancelled, and now is, whatever was asked.
_CANCELLED_INSTEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Request:
    """What one round trip asks for."""

    settlements: Sequence[Settlement]
    settle: tuple[Any, ...] | None  #: arguments of the script
    claim_number: str | None
    nonce: str
    wanted: int
    held: int  #: leases held here already; -1: take more than a fair share


@dataclass(frozen=True, slots=True)
class Answer:
    """What one round trip answered."""

    lost: list[Settlement]  #: their tokens held no lease: nothing was changed
    cancelled: list[Settlement]  #: their messages are cancelled, as asked or because an operator was faster
    follow_ups: list[bytes]  #: entries that are in the outbox of the shard now
    claim: Claim | None
    sent_at: float  #: ``time.monotonic()`` before the request left: leases count from here
    error: RedisUnavailable | ScriptFailed | None = None  #: why one of settle and claim was refused


class Exchange:
    """Settles and claims in one shard; used by one thread."""

    def __init__(
        self,
        link: Link,
        shard: ShardKeys,
        settings: Settings,
        owner: str,
        *,
        resume: Callable[[Any], None] = lambda message: None,
    ) -> None:
        """``resume`` starts a message that waited for an earlier run of this process."""
        self.resume = resume
        self.shard = shard
        self._link = link
        self._settings = settings
        self._owner = owner
        self._keys = (shard.meta, global_key(settings.queue_namespace, "limits"))
        self._pending: Request | None = None
        self._unanswered = False  #: the pending request was sent, and an answer to it was lost
        self._refusals = 0  #: how often a script refused the settle of the pending request
        self._asked_at = 0.0  #: ``time.monotonic()`` when the pending request was made
        self.held = 0  #: claimed here and not yet to be settled; kept by the consumer

    @property
    def pending(self) -> bool:
        """Whether a request waits for its answer."""
        return self._pending is not None

    @property
    def settling(self) -> bool:
        """Whether a settle waits for its answer; it must be sent before another."""
        return self._pending is not None and self._pending.settle is not None

    @property
    def sessions(self) -> tuple[str, str]:
        """The names under which the scripts remember this exchange's last answers."""
        return f"{self._link.session}.s", f"{self._link.session}.c"

    def request(
        self, settlements: Sequence[Settlement], counters: Counter[str], wanted: int, held: int
    ) -> Answer:
        """Settle, count, and claim up to ``wanted`` heads; a claim that waits for its answer goes along instead.

        ``held`` leases are held here already, so that claimers share out evenly what is ready; -1: as if alone.

        Raises:
          RedisUnavailable: the request is kept: call ``resend`` until it answers.
        """
        assert not self.settling
        settle = None
        if settlements or counters:
            claims = wanted > 0 or self._pending is not None
            settle = self._settle_arguments(settlements, counters, claims=claims)
        if self._pending is not None:
            self._pending = replace(self._pending, settlements=settlements, settle=settle)
        else:
            number = self._link.next_number() if wanted else None
            self._pending = Request(settlements, settle, number, secrets.token_hex(8), wanted, held)
            self._unanswered = False
        self._refusals, self._asked_at = 0, time.monotonic()
        return self.resend()

    def resend(self) -> Answer:
        """Send the request that waits for its answer.

        One of a settle and a claim may be refused while the other was done. A settle that was refused is kept. A claim
        that was refused took nothing, unless an answer to it was lost before: then it is kept, for its leases.

        Raises:
          RedisUnavailable: it still waits.
        """
        request = self._pending
        assert request is not None
        sent_at = time.monotonic()
        unanswered, self._unanswered = self._unanswered, True
        found = self._link.run_each(lambda: self._calls(request))
        try:
            answer = _read(request, found, sent_at)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            # Another reply than that of our scripts: whatever sent it, the next connection may be better.
            self._link.disconnect()
            raise unavailable(error) from error
        self._unanswered = unanswered
        self._keep(request, found, unanswered=unanswered)
        return answer

    def _keep(self, request: Request, found: Sequence[Any], *, unanswered: bool) -> None:
        """Keep of a request what was refused and must be sent again."""
        settle = request.settle is not None and isinstance(found[0], LockstepError)
        claim = request.wanted > 0 and isinstance(found[-1], RedisUnavailable) and unanswered
        self._pending = None
        if settle:
            self._refusals += isinstance(found[0], ScriptFailed)
        if settle or claim:
            self._pending = replace(
                request,
                settlements=request.settlements if settle else (),
                settle=request.settle if settle else None,
                claim_number=request.claim_number if claim else None,
                wanted=request.wanted if claim else 0,
            )

    def abandon(self) -> Sequence[Settlement]:
        """Give up a settle that a script refused again and again; return what was not settled, or nothing yet.

        Its leases have run out by then, for nobody renews them: the messages run again, and one that is the reason
        is a dead letter after MAX_CRASHES.
        """
        until = self._asked_at + max(_PATIENCE_SECONDS, self._settings.lease_seconds)
        if self._pending is None or self._refusals < _PATIENCE_TIMES or time.monotonic() < until:
            return ()
        settlements, self._pending = self._pending.settlements, None
        return settlements

    def disconnect(self) -> None:
        """Close the connection."""
        self._link.disconnect()

    def _calls(self, request: Request) -> list[Call]:
        calls: list[Call] = []
        if request.settle is not None:
            calls.append((scripts.load("settle"), self._keys, request.settle))
        if request.wanted:
            hold = "0" if self._settings.redis_synced_writes else "1"
            arguments = (
                *(self.sessions[1], request.claim_number, self._link.epoch, request.nonce),
                *(request.wanted, self._settings.lease_ms, self._owner, hold, request.held),
                *(self.shard.queue, self._settings.queue_shards),
            )
            calls.append((scripts.load("claim"), self._keys, arguments))
        return calls

    def _settle_arguments(
        self, settlements: Sequence[Settlement], counters: Counter[str], *, claims: bool
    ) -> tuple[Any, ...]:
        keep = self._settings.retention_done_count
        arguments: list[Any] = [self.sessions[0], self._link.next_number(), keep, int(claims), len(counters)]
        for pair in counters.items():
            arguments += pair
        for settlement in settlements:
            arguments += settlement_arguments(settlement)
            for entry in settlement.follow_ups:
                arguments += ("follow", entry)
        return tuple(arguments)


def _read(request: Request, found: Sequence[Any], sent_at: float) -> Answer:
    """Return the answer that the replies to a request make; an error reply stands for itself alone."""
    error = next((one for one in found if isinstance(one, (RedisUnavailable, ScriptFailed))), None)
    lost: list[Settlement] = []
    cancelled: list[Settlement] = []
    follow_ups: list[bytes] = []
    if request.settle is not None and not isinstance(found[0], LockstepError):
        for settlement, answer in zip(request.settlements, found[0], strict=True):
            if not answer:
                lost.append(settlement)
            elif answer == _CANCELLED_INSTEAD or settlement.verb is Verb.CANCEL:
                cancelled.append(settlement)
            elif settlement.follow_ups:
                follow_ups += settlement.follow_ups
    claim = None
    if request.wanted and not isinstance(found[-1], LockstepError):
        claim = replies.claim(found[-1])
    return Answer(lost, cancelled, follow_ups, claim, sent_at, error)


def settlement_arguments(one: Settlement) -> tuple[Any, ...]:  # noqa: PLR0911  (one for each verb)
    """A settlement as ``settle.lua`` reads it."""
    head = (one.ref, one.token, one.id)
    match one.verb:
        case Verb.COMPLETE if one.result is None:
            return ("complete", *head)
        case Verb.COMPLETE:
            return ("result", *head, one.result, one.result_ttl_ms)
        case Verb.RETRY:
            return ("retry", *head, one.delay_ms, one.error)
        case Verb.DEAD_LETTER if one.result is not None:
            return ("dead_result", *head, one.reason, one.error, one.result, one.result_ttl_ms)
        case Verb.DEAD_LETTER:
            return ("dead_letter", *head, one.reason, one.error)
        case Verb.RELEASE:
            return ("release", *head, one.delay_ms, one.reason, int(one.park))
        case Verb.CANCEL:
            return ("cancel", *head)

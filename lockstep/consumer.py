"""Takes messages from one queue and gives back what became of them.

Dramatiq's consumer thread turns here: each turn settles what ended and claims what is next in one round trip.
Worker threads only put their outcome into the outbox. Nothing that is raised leaves ``__next__``: Dramatiq
would restart the consumer and strand what it holds. A shard that fails is tried again later; the others go on.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dramatiq import Consumer, DecodeError, MessageProxy

from lockstep import errorinfo, logs, metrics
from lockstep.capacity import Capacity
from lockstep.claimed import ClaimedMessage
from lockstep.envelope import decode
from lockstep.errors import LockstepError, RedisUnavailable, ScriptFailed
from lockstep.exchange import Answer, Exchange
from lockstep.failures import Failures
from lockstep.outages import Outages
from lockstep.records import Claim, Lease, Settlement
from lockstep.states import Verb
from lockstep.wakeup import BLOCK_SECONDS, WakeUp

if TYPE_CHECKING:
    from lockstep.broker import LockstepBroker

log = logs.get_logger("lockstep.consumer")

#: Milliseconds that a message of an unknown actor is parked before it is tried again.
PARK_MS = 2000

#: Seconds between two sendings of histogram counters.
_SAMPLE_SECONDS = 1.0

#: Seconds that ready groups beyond this process's share are left to others.
_SHARE_SECONDS = 0.002

#: Seconds after which a message that no thread has started goes back, for a worker that has time.
_GIVE_BACK_SECONDS = 0.5

#: Seconds after which an idle consumer looks for ready groups by itself, whatever its wake-up thread does.
POLL_SECONDS: Final = 5.0

#: Seconds that closing waits for Redis; what is not settled by then runs again after its lease.
_CLOSE_SECONDS = 5.0


#: What an attempt is counted as, by how its lease ends.
_OUTCOMES: Final = {
    Verb.COMPLETE: "done",
    Verb.RETRY: "retry",
    Verb.DEAD_LETTER: "dead",
    Verb.RELEASE: "released",
    Verb.CANCEL: "cancelled",
}


class LockstepConsumer(Consumer):
    """Iterates over claimed messages of one queue."""

    def __init__(self, broker: "LockstepBroker", queue_name: str, *, threads: int, idle_ms: int) -> None:
        self.queue_name = queue_name
        self._broker = broker
        self._settings = broker.settings
        self._idle = idle_ms / 1000
        self._exchanges = [
            Exchange(broker.store.new_link(), shard, broker.settings, broker.owner, resume=self._resume)
            for shard in broker.store.shards(queue_name)
        ]
        self._bell = threading.Condition()
        self._outbox: dict[Exchange, list[Settlement]] = {exchange: [] for exchange in self._exchanges}
        self._exact: Counter[str] = Counter()
        self._sampled: Counter[str] = Counter()
        self._sampled_at = time.monotonic()
        self._buffer: deque[ClaimedMessage] = deque()
        self._capacity = Capacity(threads)
        self._outgoing = 0  #: outcomes in the outbox
        self._held = 0  #: claimed and not yet in the outbox
        self._look = True  #: groups may be ready
        self._due_at = 0.0  #: time.monotonic() when something falls due; 0: nothing known
        self._left_at = 0.0  #: time.monotonic() when ready groups were first left to others; 0: none are
        self._crowded = False  #: other queues keep the threads so busy that messages of this one went back
        self._look_by = 0.0  #: time.monotonic() of the next look without any reason
        self._outages = Outages(queue_name, len(self._exchanges))
        self._failures = Failures("consumer.failed", queue=queue_name)
        self._answered = False  #: Redis has answered a turn
        self._closed = False
        self.ended = 0  #: attempts that ended here
        self.released = 0  #: messages given back because this process stops
        self._wake_up = self._start_wake_up()

    # -- Dramatiq's side ----------------------------------------------------------------------------------------

    def __next__(self) -> MessageProxy | None:
        try:
            if not self._buffer:
                self._turn()
        except BaseException as error:  # also SystemExit, which would end this thread without a word
            self._on_defect(error)
        else:
            self._failures.count = 0
        return self._buffer.popleft() if self._buffer else None

    def _on_defect(self, error: BaseException) -> None:
        self._failures.note()
        if self._failures.hopeless:
            times = self._failures.count
            self._broker.give_up(
                f"the consumer of queue {self.queue_name!r} failed {times} times in a row, at last with "
                f"{type(error).__name__}"
            )
        time.sleep(self._failures.pause)

    def _start_wake_up(self) -> WakeUp:
        store = self._broker.store
        link = store.new_blocking_link(BLOCK_SECONDS)
        wake_up = WakeUp(link, store.shards(self.queue_name), self._on_token)
        wake_up.start()
        return wake_up

    def ack(self, message: MessageProxy) -> None:
        """The worker is done with a message: end its lease as its settlement says, and retry if nobody decided."""
        assert isinstance(message, ClaimedMessage)
        if message.settlement is None:
            self._broker.decide_by_default(message)
        self._put(message)

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put messages that have not started back at their places."""
        for message in messages:
            assert isinstance(message, ClaimedMessage)
            message.settle(Verb.RELEASE)
            self._put(message)

    def close(self) -> None:
        """Settle what is left and leave; if Redis stays away, the leases end by themselves."""
        self._closed = True
        self._wake_up.close()
        self._move_samples(force=True)
        deadline = time.monotonic() + _CLOSE_SECONDS
        self._release_waiting()
        while (self._buffer or self._has_outgoing()) and time.monotonic() < deadline:
            try:
                self.requeue(list(self._buffer))  # a claim whose answer was lost may fill it again
                self._buffer.clear()
                if not self._exchange_all(wanted=0, resting=False):
                    time.sleep(0.1)
                self._release_waiting()
            except Exception:  # what is left runs again after its lease; the worker must still stop in order
                log.critical("consumer.failed", queue=self.queue_name, exc_info=True)
                break
        self.leave()
        for exchange in self._exchanges:
            exchange.disconnect()

    # -- what other threads do ----------------------------------------------------------------------------------

    def ring(self) -> None:
        """Look again now."""
        with self._bell:
            self._look = True
            self._bell.notify()

    def count(self, field: str) -> None:
        """Add one to a counter of the queue, with the next call that settles or claims."""
        with self._bell:
            self._exact[field] += 1
            self._bell.notify()

    @property
    def connected(self) -> bool:
        """Whether every shard answered when it was last asked by this consumer, which turns and is not closed."""
        return self._answered and not self._outages and not self._failures.count and not self._closed

    @property
    def closed(self) -> bool:
        """Whether this consumer has ended."""
        return self._closed

    @property
    def crowded(self) -> bool:
        """Whether this consumer claims nothing until a thread is free."""
        return self._crowded

    def _on_token(self) -> bool:
        if self._wanted() <= 0 or self._left_at:
            return False
        self.ring()
        return True

    def _put(self, message: ClaimedMessage) -> None:
        settlement = message.settlement
        assert settlement is not None
        if message.put_back:
            return  # its thread died, and it was settled for it
        message.put_back = True
        following = self._broker.held.remove(message)
        if following is not None:
            following.exchange.resume(following)
        if message.exchange not in self._outbox:
            # Dramatiq has made a new consumer since. Nobody renews the lease any more, and the message runs again.
            log.error("message.stranded", queue=self.queue_name, message_id=message.message_id)
            return
        with self._bell:
            self._outbox[message.exchange].append(settlement)
            self._count(message, settlement)
            self._hold(message.exchange, -1)
            self._outgoing += 1
            self._bell.notify()
        self._broker.ring_crowded()

    def _hold(self, exchange: Exchange, change: int) -> None:
        self._held += change
        exchange.held += change

    def _count(self, message: ClaimedMessage, settlement: Settlement) -> None:
        now, lease = time.monotonic(), message.lease
        self._exact[metrics.attempt_field(message.actor_name, _OUTCOMES[settlement.verb])] += 1
        self.released += settlement.verb is Verb.RELEASE and self._broker.stopping
        if not message.started_at:
            return
        self.ended += 1
        seconds = now - message.started_at
        self._capacity.observe(seconds)
        self._sampled.update(metrics.histogram_fields(metrics.DURATION, (message.actor_name,), seconds))
        waited = max(0.0, (message.claimed_ms - lease.enqueued_ms) / 1000)
        if not (lease.failures or lease.crashes):
            started = waited + message.started_at - message.claimed_at
            self._sampled.update(metrics.histogram_fields(metrics.WAIT, (), started))
        if settlement.verb is Verb.COMPLETE:
            latency = waited + now - message.claimed_at
            self._sampled.update(metrics.histogram_fields(metrics.LATENCY, (), latency))

    # -- one turn -----------------------------------------------------------------------------------------------

    def _wanted(self) -> int:
        if not self._broker.may_claim or self._crowded:
            return 0
        return self._capacity.limit - self._held

    def _has_outgoing(self) -> bool:
        return any(self._outbox.values()) or any(e.pending for e in self._exchanges) or bool(self._exact)

    def _turn(self) -> None:
        with self._bell:
            if not self._something_to_do():
                if self._wanted() > 0:
                    self._listen()
                self._bell.wait(self._wait_seconds())
        self._give_back()
        self._crowded = self._crowded and len(self._broker.held) >= self._capacity.threads
        with self._bell:
            if not self._something_to_do():
                return
        self._move_samples()
        self._exchange_all(wanted=max(0, self._wanted()))

    def _listen(self) -> None:
        if not self._wake_up.is_alive():  # it survives errors, but not everything: memory may be used up
            self._wake_up = self._start_wake_up()
        self._wake_up.listen()

    def _give_back(self) -> None:
        """Put back what should have started long ago, or not at all, because the process stops."""
        now = time.monotonic()
        if self._broker.stopping:
            self._release_waiting()
            self.requeue(self._broker.work_queue.take_back(self.queue_name, now))
        elif now - self._sampled_at >= _SAMPLE_SECONDS and len(self._broker.held) > self._capacity.threads:
            late = self._broker.work_queue.take_back(self.queue_name, now - _GIVE_BACK_SECONDS)
            if late:
                # Or they would be claimed again at once.
                self._capacity.observe(now - late[0].claimed_at)
                self._crowded = True
                self.requeue(late)

    def _something_to_do(self) -> bool:
        now = time.monotonic()
        if self._due_at and now >= self._due_at:
            self._look, self._due_at = True, 0.0
        if now >= self._look_by:
            self._look = True
        wants = self._look and self._wanted() > 0
        if self._outages:
            return self._something_possible(now, wants=wants)
        return wants or self._has_outgoing()

    def _something_possible(self, now: float, *, wants: bool) -> bool:
        """Whether there is something to do for a shard that does not rest after a failure."""
        for exchange in self._exchanges:
            if self._outages.resting(exchange, now):
                continue
            again = exchange in self._outages and self._wanted() > 0
            if wants or again or self._outbox[exchange] or exchange.pending or self._exact:
                return True
        return False

    def _wait_seconds(self) -> float:
        now = time.monotonic()
        until = now + (min(self._idle, 0.05) if self._broker.stopping else self._idle)
        if self._due_at:
            until = min(until, self._due_at)
        if not self._look:
            until = min(until, self._look_by)
        if self._outages:
            until = min(until, self._outages.next_try(now))
        return max(0.0, until - now)

    def _move_samples(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._sampled_at >= _SAMPLE_SECONDS:
            with self._bell:
                self._exact.update(self._sampled)
                self._sampled.clear()
            self._sampled_at = now

    def _exchange_all(self, *, wanted: int, resting: bool = True) -> bool:
        """One round trip with each shard; answers whether all of them answered.

        A shard that failed a moment ago is left out, unless ``resting`` is false.
        """
        self._look, now = False, time.monotonic()
        if wanted:
            self._look_by = now + POLL_SECONDS
        due_at = left_at = 0.0
        insist = bool(self._left_at) and now >= self._left_at + _SHARE_SECONDS
        for exchange in self._exchanges:
            if resting and self._outages and self._outages.resting(exchange, now):
                continue
            asked_at = time.monotonic()
            try:
                claim = self._exchange(exchange, wanted, insist=insist)
            except (RedisUnavailable, ScriptFailed) as error:
                self._on_away(exchange, error, asked_at)
                continue
            if claim is not None:
                if claim.shared:
                    left_at = self._left_at or time.monotonic()
                    due_at = _sooner(due_at, left_at + _SHARE_SECONDS)
                else:
                    self._look = self._look or claim.more
                if claim.next_due_ms is not None:
                    due_at = _sooner(due_at, time.monotonic() + claim.next_due_ms / 1000)
        if wanted:
            self._due_at, self._left_at = due_at, left_at
        self._answered = self._answered or not self._outages
        return not self._outages

    def _exchange(self, exchange: Exchange, wanted: int, *, insist: bool) -> Claim | None:
        if exchange.pending:
            self._look = True  # what it asks for was wanted some time ago
        if exchange.settling:
            answer = exchange.resend()
        else:
            settlements, counters = self._take_outgoing(exchange)
            want = max(0, min(wanted, self._wanted())) if wanted else 0
            answer = exchange.request(settlements, counters, want, -1 if insist else exchange.held)
        claim = self._accept(exchange, answer)
        if answer.error is not None:
            raise answer.error
        if self._outages:
            self._outages.ended(exchange)
        return claim

    def _take_outgoing(self, exchange: Exchange) -> tuple[list[Settlement], Counter[str]]:
        with self._bell:
            settlements, self._outbox[exchange] = self._outbox[exchange], []
            self._outgoing -= len(settlements)
            counters, self._exact = self._exact, Counter()
        return settlements, counters

    def _accept(self, exchange: Exchange, answer: Answer) -> Claim | None:
        for settlement in answer.lost:
            self._exact[metrics.LEASE_LOST] += 1
            log.warning("lease.lost", queue=self.queue_name, message_id=settlement.id, verb=settlement.verb)
        for settlement in answer.cancelled:
            log.info("message.cancelled", queue=self.queue_name, message_id=settlement.id)
        claim = answer.claim
        if claim is not None:
            with self._bell:
                self._hold(exchange, len(claim.leases))
            for lease in claim.leases:
                try:
                    self._take(exchange, lease, claim.now_ms, answer.sent_at)
                except BaseException:  # its lease runs out; after MAX_CRASHES it is a dead letter
                    log.critical(
                        "message.stranded", queue=self.queue_name, message_id=lease.id, exc_info=True
                    )
                    with self._bell:
                        self._hold(exchange, -1)
        if answer.follow_ups:  # if the process dies here, a reaper delivers them
            self._broker.deliver(exchange.shard, answer.follow_ups)
        return claim

    def _take(self, exchange: Exchange, lease: Lease, now_ms: int, sent_at: float) -> None:
        try:
            message = decode(lease.payload, self._broker.encoder)
        except DecodeError as error:
            self._refuse(
                exchange, lease, Verb.DEAD_LETTER, reason="undecodable", error=errorinfo.encode(error.error)
            )
            return
        deadline = sent_at + self._settings.lease_seconds - self._broker.lease_margin
        claimed = ClaimedMessage(message, lease, exchange, deadline, now_ms)
        # Whatever the payload says; Dramatiq would keep what has an eta in its memory.
        claimed.queue_name = self.queue_name
        claimed.options.pop("eta", None)
        if message.actor_name in self._broker.actors:
            if lease.within_ms:
                claimed.start_by = sent_at + max(0, lease.within_ms) / 2000
            self._start_or_wait(claimed)
        elif lease.parked_ms and now_ms - lease.parked_ms >= self._settings.unknown_actor_seconds * 1000:
            self._refuse(exchange, lease, Verb.DEAD_LETTER, reason="unknown_actor")
        else:  # during a rolling deploy an older worker meets messages of the newer release
            self._refuse(exchange, lease, Verb.RELEASE, delay_ms=PARK_MS, park=True)

    def _start_or_wait(self, message: ClaimedMessage) -> None:
        """Hand a message to the worker threads, after the run of its group whose lease this process lost."""
        if self._broker.held.add(message):
            self._buffer.append(message)
            return
        with self._bell:
            self._hold(message.exchange, -1)  # the thread that it waits for is counted by the earlier run
        log.warning("message.waits_for_earlier_run", queue=self.queue_name, message_id=message.message_id)

    def _resume(self, message: ClaimedMessage) -> None:
        """Start a message that waited; called by the thread whose run has ended."""
        with self._bell:
            self._hold(message.exchange, 1)
            self._buffer.append(message)
            self._look = True
            self._bell.notify()

    def _release_waiting(self) -> None:
        """Put back what waits for the end of an earlier run: this process stops, and others may have time."""
        for message in self._broker.held.take_waiting(self.queue_name):
            with self._bell:
                self._hold(message.exchange, 1)
            self.requeue([message])

    def _refuse(self, exchange: Exchange, lease: Lease, verb: Verb, **details: object) -> None:
        settlement = Settlement(ref=lease.ref, token=lease.token, id=lease.id, verb=verb, **details)  # type: ignore[arg-type]
        outcome = "dead" if verb is Verb.DEAD_LETTER else "released"
        level = log.error if verb is Verb.DEAD_LETTER else log.warning
        event = "message.dead" if verb is Verb.DEAD_LETTER else "message.released"
        level(
            event,
            queue=self.queue_name,
            group=lease.group,
            message_id=lease.id,
            actor=lease.actor,
            reason=settlement.reason or "unknown_actor",
            **_kind(settlement),
        )
        with self._bell:
            self._hold(exchange, -1)
            self._outbox[exchange].append(settlement)
            self._outgoing += 1
            self._exact[metrics.attempt_field(lease.actor, outcome)] += 1

    # -- Redis away and back ------------------------------------------------------------------------------------

    def _on_away(self, exchange: Exchange, error: RedisUnavailable | ScriptFailed, asked_at: float) -> None:
        self._outages.began(exchange, error, asked_at)
        for settlement in exchange.abandon():
            log.critical(
                "message.stranded", queue=self.queue_name, message_id=settlement.id, verb=settlement.verb
            )

    def leave(self) -> None:
        """Say of each shard that nothing is held there any more, unless something is."""
        for exchange in self._exchanges:
            if unsettled := len(self._outbox[exchange]) + exchange.pending:
                log.error(
                    "redis.lost", queue=self.queue_name, shard=exchange.shard.shard, unsettled=unsettled
                )
                continue
            try:
                self._broker.store.leave(exchange.shard, self._broker.owner, exchange.sessions)
            except LockstepError:
                continue  # the next life of Redis waits for us one lease longer than it must


def _kind(settlement: Settlement) -> dict[str, object]:
    """What a log line says of the kind of a dead letter."""
    if settlement.verb is not Verb.DEAD_LETTER:
        return {}
    error, fingerprint = errorinfo.kind_of(settlement.error, settlement.reason)
    return {"error": error, "fingerprint": fingerprint}


def _sooner(one: float, other: float) -> float:
    """The earlier of two times, of which 0 is none."""
    return min(one, other) if one else other

"""A Dramatiq broker that keeps messages of a group in order."""

import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from dramatiq import Message
from dramatiq.broker import Consumer
from dramatiq.common import q_name
from dramatiq.errors import QueueNotFound
from dramatiq.middleware import CurrentMessage, Middleware, Retries, TimeLimit

from lockstep import forks, logs, metrics
from lockstep.assembly import default_middleware, kept_of_kind, settings_with
from lockstep.checks import MAX_BATCH, check_key
from lockstep.claimed import ClaimedMessage
from lockstep.consumer import LockstepConsumer
from lockstep.deliveries import Deliveries
from lockstep.emptying import flush, wait_until_empty
from lockstep.ending import give_up
from lockstep.envelope import current_encoder
from lockstep.errors import IdempotencyConflict, InvalidMessage, LeaseLost, UnknownActor
from lockstep.holding import HeldMessages
from lockstep.hooks import HookedBroker
from lockstep.keys import ShardKeys
from lockstep.options import check_actor, check_names
from lockstep.outbox import write_message
from lockstep.preparing import Prepared, given_delay, hooked_copy, keyed_together, prepare, with_words
from lockstep.records import Accepted
from lockstep.settings import Settings
from lockstep.states import Verb
from lockstep.store import Store
from lockstep.workqueue import WorkQueue

log = logs.get_logger("lockstep.broker")

#: Options that the engine itself understands, whatever the middleware.
_ENGINE_OPTIONS: Final = frozenset(
    {"group", "group_by", "on_dead", "validate", "hold_place", "unique", "unique_by", "retention"}
)


def _without_arguments(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Received args=")


class LockstepBroker(HookedBroker):
    """Sends and consumes messages; connects when it is first used.

    It always has the middleware of the project (``middleware.default()``), which the guarantees rest on.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: Store | None = None,
        middleware: Iterable[Middleware] = (),
        **options: Any,
    ) -> None:
        """Make a broker of the environment's settings.

        Args:
          settings: None: those of the environment, with ``options`` in their place.
          store: None: one that connects when it is first used.
          middleware: added to that of the project, as by ``add_middleware``.
          options: settings by their lower-case names, such as ``redis_url``.

        Raises:
          InvalidSettings: a setting is wrong.
          TypeError: there is no such setting, or a value is of a wrong type.
        """
        if settings is None:
            settings = settings_with(options)
        elif not isinstance(settings, Settings):
            raise TypeError("expected Settings; give settings by their names, and middleware=[...]")
        elif options:
            raise TypeError("give settings, or options, but not both")
        self._hooks: dict[str, list[Callable[..., None]]] = {}
        self.settings = settings
        self.store = store or Store.connect(settings)
        self.held = HeldMessages()
        self.work_queue = WorkQueue(
            self.held
        )  #: where a worker whose middleware has ``Lifecycle`` finds its work
        self.owner = f"{settings.instance_id}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.threads = settings.worker_concurrency
        self._hooked_options: set[str] = set()  # what hooks put into messages that were sent here
        forks.watch(self)
        self.owns_process = False  #: a command started this process for its worker, and restarts it
        self._deliveries = Deliveries(self)
        self._stopping = threading.Event()
        self._held_back: set[str] = set()  # what must be known first
        self._consumers: list[LockstepConsumer] = []
        self._ended = self._released = 0  # of consumers that are gone
        super().__init__(middleware=default_middleware(settings, self.store))
        self.queues: set[str] = set()
        for one in middleware or ():
            self.add_middleware(one)
        self.actor_options |= _ENGINE_OPTIONS

    @property
    def encoder(self) -> Any:
        """Turns messages into bytes and back."""
        return current_encoder()

    @property
    def lease_margin(self) -> float:
        """Seconds before the end of a lease from which on this process no longer counts on it."""
        return min(1.0, self.settings.lease_seconds / 10)

    # -- queues and actors --------------------------------------------------------------------------------------

    def declare_actor(self, actor: Any) -> None:
        """Declare an actor; its arguments stay out of the logs, at every level.

        Raises:
          InvalidOption: one of its options could never work.
        """
        check_actor(actor.actor_name, actor.options)
        super().declare_actor(actor)
        actor.logger.addFilter(_without_arguments)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue; nothing is written until it is used."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        """The queues declared so far."""
        return set(self.queues)

    # -- sending ------------------------------------------------------------------------------------------------

    def enqueue(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """Accept a message; when this returns, it is in Redis.

        Raises:
          InvalidMessage: it is refused, ``field`` says why; nothing was written.
          NotAccepted: not now; nothing was written.
          RedisUnavailable: it may be in Redis or not. Sending it again with the same ``message_id`` or
            ``idempotency_key`` is safe for IDEMPOTENCY_TTL; without one, while the record of its id is kept.
        """
        prepared = self._prepare(message, delay)
        (accepted,) = self._accept([prepared])
        # Of a repeat: the first one, so that its result can be had.
        return prepared.message.copy(message_id=accepted.id) if accepted.duplicate else prepared.message

    def submit(self, message: "Message[Any]", *, delay: int | None = None) -> Accepted:
        """As ``enqueue``; answers where the message stands. A computed group is put into the message's options."""
        prepared = self._prepare(message, delay)
        message.options.update(prepared.message.options)
        if "group" in message.options:
            message.options.pop("group_by", None)  # the group that it made takes its place, also in a repeat
        return self._accept([prepared])[0]

    def enqueue_many(
        self,
        messages: Sequence["Message[Any]"],
        delays: Sequence[int | None] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> list[Accepted]:
        """Accept up to 1000 messages in their order; each queue's shard takes all of its own or none.

        Args:
          messages: may have keys of their own, unless ``idempotency_key`` is given.
          delays: of each, in milliseconds.
          idempotency_key: for all of them together: a repeat must say the same of each, in the same order.

        Raises:
          InvalidMessage: one is refused, ``field`` begins with its index; or there are too many. Nothing was written.
          NotAccepted: not now; nothing was written.
          RedisUnavailable: any of them may be in Redis; sending them again with their ids is safe as ``enqueue`` says.
        """
        if len(messages) > MAX_BATCH:
            raise InvalidMessage("", f"expected at most {MAX_BATCH} messages, got {len(messages)}")
        prepared: list[Prepared] = []
        for index, message in enumerate(messages):
            try:
                prepared.append(self._prepare(message, delays[index] if delays else None))
            except InvalidMessage as error:
                error.field = f"/{index}{error.field}"
                raise
        if idempotency_key is not None:
            prepared = keyed_together(prepared, check_key(idempotency_key))
        try:
            return self._accept(prepared)
        except IdempotencyConflict as error:
            error.field = "" if idempotency_key is not None else f"/{error.index}{error.field}"
            raise

    def _accept(self, prepared: list[Prepared]) -> list[Accepted]:
        follow_up = self._check_follow_up()
        addressed = [(one.message.queue_name, one.new) for one in prepared]
        accepted = self.store.sending.enqueue(addressed, follow_up=follow_up)
        for one, answer in zip(prepared, accepted, strict=True):
            message, new = one.message, one.new
            if answer.duplicate and answer.id != new.id:
                self.store.results.note_repeat(new.id, answer.id)
            if "pipe_target" in message.options:
                self.store.results.note_steps(message.queue_name, answer.id, message.options)
            log.debug("message.enqueued", queue=message.queue_name, group=new.group, message_id=new.id)
            self.emit_after("enqueue", message, one.hook_delay)
        return accepted

    def _prepare(self, message: "Message[Any]", delay: int | None) -> Prepared:
        given = message
        if message.actor_name not in self.actors:
            raise UnknownActor(message.actor_name)
        check_names(given.options, self._knows_option)
        if self._hooks_of("before_enqueue"):
            message = hooked_copy(given)
            self.emit_before("enqueue", message, given_delay(given, delay))
            self._hooked_options.update(message.options)
        prepared = prepare(self, message, delay, self.settings.max_payload_bytes, given=given)
        current: Any = CurrentMessage.get_current_message()
        if current is not None and current.message_id == prepared.new.id:
            raise InvalidMessage(
                "/id",
                "this message runs now under this id: raise dramatiq.Retry(delay=...) to run it again, or send a copy"
                " with another message_id",
            )
        return with_words(prepared) if self.settings.search_index else prepared

    def prepare(self, message: "Message[Any]", delay: int | None = None) -> Prepared:
        """Check and encode a message, with the hooks before an enqueue, without sending it.

        Raises:
          InvalidMessage: it is refused; ``field`` says why.
        """
        return self._prepare(message, delay)

    def prepare_follow_up(self, message: "Message[Any]", *, delay: int | None = None) -> bytes:
        """Return the outbox entry of a message that a settle is to send, after all the hooks of an enqueue.

        Raises:
          InvalidMessage: it is refused; ``field`` says why.
        """
        prepared = self._prepare(message, delay)
        self.emit_after("enqueue", prepared.message, prepared.hook_delay)
        return write_message(prepared.message.queue_name, prepared.new)

    def deliver(self, shard: ShardKeys, entries: Sequence[bytes]) -> None:
        """Enqueue what is in the outbox of a shard; what cannot be enqueued now is tried again by reapers."""
        self._deliveries.deliver(shard, entries)

    def _knows_option(self, name: str) -> bool:
        """Return whether a middleware declares an option, or a hook put it into a message that is sent again."""
        if name in self.actor_options or name in self._hooked_options:
            return True
        current: Any = CurrentMessage.get_current_message()
        return current is not None and name in current.options

    def _check_follow_up(self) -> bool:
        """Return whether a send belongs to accepted work: this process runs a message, under a lease that it holds.

        That is known of the process and not of the thread, because the threads that an actor starts do not know whose
        they are. If the message ends between this check and the send, the send is still accepted.

        Raises:
          LeaseLost: the sender runs a message whose lease is lost; another process may be sending the same.
        """
        current: Any = CurrentMessage.get_current_message()
        if isinstance(current, ClaimedMessage) and current.in_actor:
            if not current.holds():
                raise LeaseLost
            return True
        return any(message.in_actor and message.holds() for message in self.held.all())

    # -- consuming ----------------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether this process claims nothing any more."""
        return self._stopping.is_set()

    @property
    def may_claim(self) -> bool:
        """Whether this process claims: not when it stops, nor before what must be known is known."""
        return not self._stopping.is_set() and not self._held_back

    @property
    def connected_queues(self) -> set[str]:
        """The queues whose consumers Redis answers."""
        return {consumer.queue_name for consumer in self._consumers if consumer.connected}

    @property
    def running(self) -> int:
        """Messages that actors of this process run now."""
        return sum(1 for message in self.held.all() if message.started_at)

    @property
    def ended(self) -> int:
        """Attempts that ended in this process."""
        return self._ended + sum(consumer.ended for consumer in self._consumers)

    @property
    def released(self) -> int:
        """Messages that this process gave back because it stops, interrupted or not started."""
        return self._released + sum(consumer.released for consumer in self._consumers)

    def start_claiming(self) -> None:
        """Claim, until ``stop_claiming``."""
        self._stopping.clear()

    def hold_back(self, why: str) -> None:
        """Claim nothing until ``let_go`` was called for the same reason."""
        self._held_back.add(why)

    def let_go(self, why: str) -> None:
        """End what ``hold_back`` began."""
        self._held_back.discard(why)
        for consumer in self._consumers:
            consumer.ring()

    def end_forked_runs(self) -> None:
        """End this process when its actor ends: it is a child that the actor forked."""

        def end(broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
            forks.end_child(exception)

        self._hooks["after_process_message"] = self._hooks["after_skip_message"] = [end]

    def give_up(self, reason: str) -> None:
        """End the process, or at least this worker: it cannot keep its guarantees."""
        give_up(self, reason)

    def stop_claiming(self) -> None:
        """Claim nothing from now on; what has not started goes back to its place."""
        self._stopping.set()
        for consumer in self._consumers:
            consumer.ring()

    def ring_crowded(self) -> None:
        """A thread is free: whoever waits for one looks again."""
        for consumer in self._consumers:
            if consumer.crowded:
                consumer.ring()

    def leave(self) -> None:
        """This process claims nothing any more: after a restart of Redis nobody needs to wait for it."""
        for consumer in self._consumers:
            consumer.leave()

    def pause(self, seconds: float) -> None:
        """Wait a moment for Redis."""
        time.sleep(seconds)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        """A consumer of one queue; ``prefetch`` is twice the worker's threads, as Dramatiq counts."""
        self._drop_closed()
        consumer = LockstepConsumer(self, queue_name, threads=max(1, prefetch // 2), idle_ms=timeout)
        self._consumers.append(consumer)
        return consumer

    def forget(self, worker: Any) -> None:
        """Drop what a worker that has stopped added to this broker, and connections that nobody uses now."""
        self._drop_closed()
        # Dramatiq's own middleware of a worker would start consumers for queues that are declared later.
        self.middleware = [one for one in self.middleware if getattr(one, "worker", None) is not worker]
        self._hooks = {}
        self._held_back.clear()  # what the next worker must know first, it finds out itself
        self.store.close()

    def _drop_closed(self) -> None:
        for consumer in [one for one in self._consumers if one.closed]:
            self._consumers.remove(consumer)
            self._ended += consumer.ended
            self._released += consumer.released

    def decide_by_default(self, message: ClaimedMessage) -> None:
        """Nobody said how a message ended: it is retried, never acknowledged."""
        message.settle(Verb.RETRY, delay_ms=self.settings.backoff.delay_ms(message.attempt))

    def close(self) -> None:
        """Close the connections."""
        self.store.close()

    # -- for the tests of an application ---------------------------------------------------------------------------

    def join(self, queue_name: str, *, timeout: int | None = None, interval: int = 100) -> None:
        """Wait until nothing of a queue is scheduled, waits, runs or backs off, in any process.

        Args:
          queue_name: a declared queue.
          timeout: milliseconds, None: without end.
          interval: milliseconds between two looks.

        Raises:
          QueueNotFound: it was never declared here.
          QueueJoinTimeout: something is left. The text names it.
        """
        seconds = None if timeout is None else timeout / 1000
        wait_until_empty(self.store, self._declared(queue_name), timeout=seconds, interval=interval / 1000)

    def flush(self, queue_name: str) -> None:
        """Remove every message of a queue that does not run, dead letters too.

        Raises:
          QueueNotFound: it was never declared here.
        """
        flush(self.store, self._declared(queue_name))

    def flush_all(self) -> None:
        """Remove every message of the declared queues that does not run."""
        for queue_name in self.get_declared_queues():
            self.flush(queue_name)

    def _declared(self, queue_name: str) -> str:
        name = q_name(
            queue_name
        )  # Dramatiq's names of its delayed and dead messages stand for the same queue
        if name not in self.queues:
            raise QueueNotFound(queue_name)
        return name

    # -- middleware: as in Dramatiq, without calling hooks that do nothing ---------------------------------------

    def add_middleware(
        self,
        middleware: Middleware,
        *,
        before: type[Middleware] | None = None,
        after: type[Middleware] | None = None,
    ) -> None:
        """Add a middleware: at the end, or next to one of the class ``before`` or ``after``.

        One of a kind that this broker has already, such as ``Results``, takes the place of that one. Of a kind that the
        project extends, such as ``TimeLimit``, only the parameters count. ``Retries`` is left out: the broker retries.

        Raises:
          ValueError: no middleware has the class ``before`` or ``after``, or the new one would do again what the
            broker does already.
        """
        self._hooks = {}
        if isinstance(middleware, Retries):
            log.warning(
                "middleware.left_out",
                middleware="Retries",
                why="the broker itself retries; MAX_ATTEMPTS, BACKOFF and the options of actors count",
            )
            return
        if isinstance(middleware, TimeLimit) and middleware.time_limit is None:
            middleware.time_limit = math.inf  # as on an actor; Dramatiq's would fail every message
        present = kept_of_kind(self.middleware, middleware)
        if isinstance(present, type(middleware)) and type(present) is not type(middleware):
            vars(present).update(vars(middleware))
            return
        if present is not None:
            place = self.middleware.index(present)
            self.middleware.remove(present)
        try:
            super().add_middleware(middleware, before=before, after=after)
        except ValueError:
            if present is not None:
                self.middleware.insert(place, present)
            raise
        if present is not None and not (before or after):
            self.middleware.insert(place, self.middleware.pop())
        self._hooks = {}

    def count_hook_failure(self, name: str, queue_name: str) -> None:
        """Count a failed hook in the statistics of the queue whose message it was called for."""
        for consumer in self._consumers:
            if consumer.queue_name == queue_name:
                consumer.count(metrics.stats_field(metrics.MIDDLEWARE_FAILURES, name))
                break

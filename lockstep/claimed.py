"""A claimed message on its way through this process: Dramatiq's proxy, with its lease and its outcome."""

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from dramatiq import Message, MessageProxy
from dramatiq.middleware import raise_thread_exception
from dramatiq.threading import Interrupt

from lockstep.errors import Cancelled, LeaseLost
from lockstep.forks import SharedDeadline
from lockstep.records import Lease, Settlement
from lockstep.states import Verb

if TYPE_CHECKING:
    from lockstep.exchange import Exchange


class ClaimedMessage(MessageProxy):
    """What actors see as ``CurrentMessage``.

    Beside Dramatiq's fields that is ``fence``, ``attempt``, ``group``, ``sequence`` and ``cancel_requested``.

    ``settlement`` says how its lease ends. It is retry until a middleware that saw the end says otherwise:
    a message whose outcome nobody could decide is never acknowledged by accident.
    """

    shared: SharedDeadline | None = None  #: of a message whose actor has forked a child
    forked = False  #: this is the copy in a child that its actor has forked

    def __init__(
        self, message: Message[Any], lease: Lease, exchange: "Exchange", deadline: float, claimed_ms: int
    ):
        super().__init__(message)
        # Set here, not looked up through the proxy: each is read many times on the way.
        self.message_id = message.message_id
        self.actor_name = message.actor_name
        self.queue_name = message.queue_name
        self.args = message.args
        self.kwargs = message.kwargs
        self.options = message.options
        self.lease = lease
        self.exchange = exchange
        self.key = (exchange.shard.meta, lease.ref)  #: of what only one run at a time may hold
        self.deadline = deadline  #: ``time.monotonic()`` until which the lease surely holds
        self.claimed_ms = claimed_ms
        self.claimed_at = time.monotonic()
        self.start_by = math.inf  #: ``time.monotonic()`` by which it must start, for a limit counts its start
        self.started_at = 0.0  #: ``time.monotonic()``; 0: it has not started
        self.settlement: Settlement | None = None
        self.result: tuple[bytes, int] | None = None  #: encoded, and its time to live in milliseconds
        self.hook_error: BaseException | None = (
            None  #: a hook before the run, or one that stores the result, raised: the attempt failed
        )
        self.put_back = False  #: its outcome is in the outbox
        self.max_retries: int | None = (
            None  #: once its attempts are used up: how many retries it could have had
        )
        self.counted_failure = False  #: its last attempt used up one of its retries
        self.lost = False  #: the lease ended without us
        self.stopped = False  #: the process stops: the actor was interrupted
        self.cancel_requested = False  #: an operator took it back: whoever looks here may end early
        self.cancel_asked_at = 0.0  #: ``time.monotonic()`` when that became known here
        self.cancel_interrupted = False  #: the actor did not end within CANCEL_GRACE
        self.ran_in: int | None = None  #: the thread that began to run it, also when that has ended
        self._thread: int | None = None
        self._guard = threading.Lock()

    @property
    def fence(self) -> int:
        """Rises with every claim of the group: store it with what you write, refuse writes with a lower one."""
        return self.lease.fence

    @property
    def attempt(self) -> int:
        """1 for the first attempt; an attempt that was released or lost with its worker does not count."""
        return self.lease.failures + 1

    @property
    def group(self) -> str | None:
        """The group key; None for a message without a group."""
        return self.lease.group or self.options.get("group")

    @property
    def sequence(self) -> int:
        """The place in the order of acceptance of its shard."""
        return self.lease.sequence

    @property
    def in_actor(self) -> bool:
        """Whether its actor has begun here and has not ended."""
        if self.forked and self.shared is not None:
            return not self.shared.ended
        return self._thread is not None

    def holds(self) -> bool:
        """Whether the lease surely holds now, by this process's own clock. A forked child reads it of its parent."""
        if self.forked and self.shared is not None:
            return time.monotonic() < self.shared.read()
        return not self.lost and time.monotonic() < self.deadline

    def renew_until(self, deadline: float) -> None:
        """Note until when the lease holds; 0: it is lost."""
        self.deadline = deadline
        if self.shared is not None:
            self.shared.write(deadline)

    def share_deadline(self) -> None:
        """Let a child that is forked now know whether the lease holds, for as long as its actor runs."""
        with self._guard:
            if self._thread is not None and self.shared is None:
                self.shared = SharedDeadline(self.deadline)

    def ask_to_cancel(self) -> bool:
        """The message was cancelled: tell the actor, or do not start it; answers whether that is new."""
        with self._guard:
            new = not self.cancel_requested
            if new:
                self.cancel_asked_at = time.monotonic()
                self.cancel_requested = True
        return new

    def settle(self, verb: Verb, **details: Any) -> None:
        """Decide how the lease ends; the last decision counts."""
        lease = self.lease
        self.settlement = Settlement(ref=lease.ref, token=lease.token, id=lease.id, verb=verb, **details)

    # An interrupt may only ever hit the thread while it runs this very message.

    def enter_thread(self) -> bool:
        """This thread begins to run the actor, unless the lease ended or it was cancelled; answers whether."""
        with self._guard:
            self.started_at = time.monotonic()
            may_run = self.holds() and not self.cancel_requested
            self.ran_in = threading.get_ident()
            self._thread = self.ran_in if may_run else None
            return self._thread is not None

    def leave_thread(self) -> None:
        """This thread has ended the actor: interrupts come too late from here on."""
        try:
            with self._guard:
                self._thread = None
        except Interrupt:
            self._thread = None  # it was on its way already, and has now arrived
        if self.shared is not None:
            self.shared.end()

    def interrupt(self, exception: type[Interrupt] = LeaseLost) -> bool:
        """Raise ``exception`` in the actor's thread, if it is running; answers whether it was."""
        with self._guard:
            if exception is LeaseLost:
                self.lost = True
            elif exception is not Cancelled:
                self.stopped = True
            if self._thread is None:
                return False
            if exception is Cancelled:
                self.cancel_interrupted = True
            raise_thread_exception(self._thread, exception)
            return True

    def __str__(self) -> str:
        return f"{self.actor_name} {self.message_id}"  # never the arguments: this goes into log lines

    __repr__ = __str__
    __hash__ = object.__hash__

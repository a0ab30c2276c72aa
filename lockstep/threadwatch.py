"""Watches the threads of a worker: one that died is replaced, or the process ends with a reason.

Dramatiq's threads survive what an actor raises, but not everything: an interrupt that arrives a moment too late, memory
that is used up, or a hook that raises ``SystemExit`` ends one without a word.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import TimeLimit

from lockstep import logs
from lockstep.claimed import ClaimedMessage
from lockstep.errors import LockstepError
from lockstep.states import Verb

if TYPE_CHECKING:
    from lockstep.broker import LockstepBroker

#: Seconds after which a message that left the queue and was not started is one that its thread took along.
_TAKEN_ALONG_SECONDS: Final = 10.0

_log = logs.get_logger("lockstep.worker")


class ThreadDied(LockstepError):
    """The thread that ran the actor died."""


class ThreadWatch:
    """Looks after the threads of one worker; a service."""

    interval = 0.5  #: seconds between two looks

    def __init__(
        self,
        broker: "LockstepBroker",
        worker: Any,
        services: Sequence[threading.Thread],
        give_up: Callable[[str], object],
    ) -> None:
        """``give_up`` is called with the reason when a thread died that cannot be replaced."""
        self._broker = broker
        self._worker = worker
        self._services = services
        self._give_up = give_up
        self._suspects: set[threading.Thread] = set()
        self._missing: list[ClaimedMessage] = []
        self._missing_at = 0.0

    def run_once(self) -> None:
        """Look once. A thread counts as dead in the second look that finds it so: it may be about to start."""
        if self._broker.stopping:
            return
        essential = [*self._services, *self._worker.consumers.values(), *self._helpers()]
        dead = {thread for thread in (*essential, *self._worker.workers) if not thread.is_alive()}
        known, self._suspects = self._suspects & dead, dead
        for thread in known:
            if thread in self._worker.workers:
                self._replace(thread)
            elif not self._broker.stopping:
                self._give_up(f"the thread {thread.name} died")
        self._release_missing()

    def _helpers(self) -> list[threading.Thread]:
        """Return the threads of middleware that were started."""
        found: list[threading.Thread] = []
        for one in self._broker.middleware:
            manager = one.manager if isinstance(one, TimeLimit) else None
            if isinstance(manager, threading.Thread) and manager.ident is not None:
                found.append(manager)
        loop = get_event_loop_thread()
        return found if loop is None else [*found, loop]

    def _replace(self, thread: threading.Thread) -> None:
        _log.critical("worker.thread_died", thread=thread.name)
        ran = [message for message in self._broker.held.all() if message.ran_in == thread.ident]
        for message in ran:  # first: a new thread may get the same number
            self._settle(message)
        self._worker._add_worker()
        self._worker.workers.remove(thread)
        self._suspects.discard(thread)
        self._missing = self._not_started()
        self._missing_at = time.monotonic()

    def _settle(self, message: ClaimedMessage) -> None:
        """End a run whose thread is gone, as the thread would have."""
        if message.settlement is None:
            self._broker.emit_after("process_message", message, exception=ThreadDied())
        self._worker.consumers[message.queue_name].post_process_message(message)

    def _not_started(self) -> list[ClaimedMessage]:
        queued = {id(item.message) for item in self._broker.work_queue.items()}
        held = self._broker.held
        return [
            message
            for message in held.all()
            if not message.started_at and id(message) not in queued and not held.waits(message)
        ]

    def _release_missing(self) -> None:
        """Put back what the thread had taken out of the queue and not begun: nobody else ever starts it."""
        if not self._missing or time.monotonic() < self._missing_at + _TAKEN_ALONG_SECONDS:
            return
        still = {id(message) for message in self._not_started()}
        for message in self._missing:
            if id(message) in still:
                message.settle(Verb.RELEASE)
                self._worker.consumers[message.queue_name].post_process_message(message)
        self._missing = []

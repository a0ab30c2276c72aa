"""Delivers the entries of outboxes for a broker: messages at once, arrivals at a group's barrier in a thread.

The barrier is in a back end that the application chose, which may be slow or away. So neither a consumer nor a reaper
waits for it.
"""

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits import Barrier

from lockstep import logs, outbox
from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.keys import ShardKeys
from lockstep.outbox import Arrival

if TYPE_CHECKING:
    from lockstep.broker import LockstepBroker

log = logs.get_logger("lockstep.outbox")

#: Arrivals that wait for the thread, at most: what is beyond them stays in its outbox for the next reap.
_MOST: Final = 1000


class Deliveries:
    """Delivers entries; what cannot be delivered now stays in its outbox, and the next reap tries it again."""

    def __init__(self, broker: "LockstepBroker") -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._arrivals: deque[tuple[ShardKeys, bytes, Arrival]] = deque()
        self._known: set[bytes] = set()  # entries in the deque, or at the barrier now
        self._thread: threading.Thread | None = None

    def deliver(self, shard: ShardKeys, entries: Sequence[bytes]) -> None:
        """Deliver entries of a shard's outbox; raises nothing."""
        written, messages, waiting = [], [], []
        for entry in entries:
            try:
                one = outbox.read(entry)
            except Exception:  # a later release may write another form: its own processes read it
                log.exception("follow_up.unreadable", queue=shard.queue)
                waiting.append(entry)
                continue
            if not isinstance(one, Arrival):
                written.append(entry)
                messages.append(one)
            elif not self._add(shard, entry, one):
                waiting.append(entry)
        if written:
            try:
                self._broker.store.outbox.deliver(shard, written, messages)
            except (RedisUnavailable, ScriptFailed) as error:
                log.warning("follow_up.delayed", queue=shard.queue, messages=len(messages), error=str(error))
        self._postpone(shard, waiting)

    def _postpone(self, shard: ShardKeys, entries: Sequence[bytes]) -> None:
        with suppress(RedisUnavailable, ScriptFailed):  # reapers try them again all the sooner
            self._broker.store.outbox.postpone(shard, entries)

    def _add(self, shard: ShardKeys, entry: bytes, arrival: Arrival) -> bool:
        """Hand an arrival to the thread; return False when it waits there already, or too many do."""
        with self._lock:
            if entry in self._known or len(self._known) >= _MOST:
                return False
            self._known.add(entry)
            self._arrivals.append((shard, entry, arrival))
            if self._thread is None:  # it ends when there is nothing to do: groups are rare
                self._thread = threading.Thread(target=self._work, name="group-barriers", daemon=True)
                self._thread.start()
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._arrivals:
                    self._thread = None
                    return
                shard, entry, arrival = self._arrivals.popleft()
            try:
                self._arrive(shard, entry, arrival)
            except Exception as error:
                log.warning("follow_up.delayed", queue=shard.queue, barrier=arrival.barrier, error=str(error))
                self._postpone(shard, [entry])
            finally:
                with self._lock:
                    self._known.discard(entry)

    def _arrive(self, shard: ShardKeys, entry: bytes, arrival: Arrival) -> None:
        """Count a message at its barrier, once; the last one enqueues the callbacks.

        If the process dies between its two marks, the barrier may never be reached, but it is never reached too early.
        """
        middleware = next((one for one in self._broker.middleware if isinstance(one, GroupCallbacks)), None)
        if middleware is None:  # a process that has the middleware wrote it, and one of these must read it
            self._postpone(shard, [entry])
            return
        backend, ttl = middleware.rate_limiter_backend, middleware.barrier_ttl
        arrived, last = (f"{arrival.barrier}:{arrival.message_id}:{mark}" for mark in ("arrived", "last"))
        if backend.add(arrived, 1, ttl):
            barrier = Barrier(backend, arrival.barrier, ttl=ttl)
            is_last = barrier.wait(block=False)
            if is_last:
                backend.add(last, 1, ttl)
        else:  # an earlier try came this far
            is_last = not backend.add(last, 1, ttl)
        if is_last:
            self._broker.store.outbox.enqueue(arrival.callbacks)
        self._broker.store.outbox.remove(shard, [entry])

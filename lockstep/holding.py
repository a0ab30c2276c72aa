"""Keeps the leases of this process alive, and interrupts those who lost theirs.

One thread renews, on its own connection; another interrupts, and asks nobody. If one dies, the process exits: an
actor must not run under a lease that nobody renews, nor on beside the next holder.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from dramatiq.middleware import Shutdown

from lockstep import logs
from lockstep.claimed import ClaimedMessage
from lockstep.errors import Cancelled, LockstepError, RedisUnavailable, ScriptFailed
from lockstep.keys import ShardKeys
from lockstep.records import Renewal

if TYPE_CHECKING:
    from lockstep.store import Store

log = logs.get_logger("lockstep.lease")


def _ask_to_cancel(message: ClaimedMessage) -> None:
    if message.ask_to_cancel():
        log.info("message.cancel_requested", message_id=message.message_id, group=message.group)


class HeldMessages:
    """The messages that this process holds leases of, one for each group (or message without a group) of a shard.

    A message stays here until its run has ended, even after its lease was lost. Redis may then give the group to
    this process again: that message waits here for the end of the earlier run, under its own lease.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], ClaimedMessage] = {}
        self._waiting: dict[tuple[str, str], ClaimedMessage] = {}
        self._guard = threading.Lock()

    def add(self, message: ClaimedMessage) -> bool:
        """Hold a claimed message; return whether it may run now. If not, ``remove`` returns it later."""
        key = message.key
        if self._held.setdefault(key, message) is message:
            return True
        with self._guard:
            # First added, then checked: a run that ends meanwhile either is seen here, or sees what waits.
            self._waiting[key] = (
                message  # an earlier one that waited has lost its lease, or Redis had none to give
            )
            if self._held.setdefault(key, message) is not message:
                return False
            del self._waiting[key]
        return True

    def remove(self, message: ClaimedMessage) -> ClaimedMessage | None:
        """Note that a run has ended, before its lease is settled; return the message that waited for that."""
        key = message.key
        if self._held.get(key) is message:
            del self._held[key]
        if not self._waiting:
            return None
        with self._guard:
            if key in self._held:
                return None
            following = self._waiting.pop(key, None)
            if following is not None:
                self._held[key] = following
        return following

    def waits(self, message: ClaimedMessage) -> bool:
        """Return whether a message waits for the end of an earlier run of its group."""
        return self._held.get(message.key) is not message

    def take_waiting(self, queue_name: str) -> list[ClaimedMessage]:
        """Remove and return the messages of a queue that wait for the end of an earlier run."""
        if not self._waiting:
            return []
        with self._guard:
            mine = [key for key, message in self._waiting.items() if message.queue_name == queue_name]
            return [self._waiting.pop(key) for key in mine]

    def forget(self) -> None:
        """Hold nothing: this is a forked child, and its parent holds the leases."""
        HeldMessages.__init__(self)

    def ask_to_cancel(self, tokens: Iterable[str]) -> None:
        """Of some leases, the messages are to be cancelled: those that are held here learn it."""
        cancelled = set(tokens)
        for message in self.all() if cancelled else []:
            if message.lease.token in cancelled:
                _ask_to_cancel(message)

    def __len__(self) -> int:
        return len(self._held) + len(self._waiting)

    def all(self) -> list[ClaimedMessage]:
        """The held messages now."""
        return [*self._held.values(), *self._waiting.values()]


class Renewer:
    """Renews each lease when a third of it has passed."""

    def __init__(self, store: "Store", held: HeldMessages, *, margin: float) -> None:
        """``margin``: seconds before the end of a lease from which on it no longer counts as held."""
        self._store = store
        self._link = store.new_link()
        self._held = held
        self._lease = store.settings.lease_seconds
        self._margin = margin
        self._failing: set[ShardKeys] = set()  # shards whose leases could not be renewed in the last run

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        return self._lease / 12

    def run_once(self) -> int:
        """Renew what is due; answers how many leases that was.

        A shard that fails holds up no other: it comes last, and until it works all leases count as due in each run,
        for the next run may have to wait for it.
        """
        due: dict[ShardKeys, list[ClaimedMessage]] = defaultdict(list)
        threshold = time.monotonic() + self._lease * 2 / 3 - self._margin
        for message in self._held.all():
            if (self._failing or message.deadline < threshold) and not message.lost:
                due[message.exchange.shard].append(message)
        if not due:
            self._connect()
        failing: set[ShardKeys] = set()
        defect: Exception | None = None
        for shard in sorted(due, key=self._failing.__contains__):
            try:
                if not self._extend(shard, due[shard]):
                    failing.add(shard)
            except Exception as error:
                failing.add(shard)
                defect = error
        self._failing = failing
        if defect is not None:
            raise defect
        return sum(map(len, due.values()))

    def close(self) -> None:
        """Close the connection, once no thread renews any more."""
        self._link.disconnect()

    def _connect(self) -> None:
        """Stand ready: a new connection takes several round trips, and a lease may not have the time."""
        if not self._link.connected:
            with suppress(LockstepError):  # the consumers say so; here it is tried again soon
                self._link.command("PING")

    def _extend(self, shard: ShardKeys, messages: list[ClaimedMessage]) -> bool:
        """Renew the leases of one shard; answers whether that was possible."""
        sent_at = time.monotonic()
        try:
            answers = self._store.extend(self._link, shard, [(m.lease.ref, m.lease.token) for m in messages])
        except (RedisUnavailable, ScriptFailed) as error:
            log.warning("lease.unrenewed", queue=shard.queue, leases=len(messages), error=str(error))
            return False
        for message, held in zip(messages, answers, strict=True):
            if held is Renewal.CANCELLING:
                _ask_to_cancel(message)
            if held:
                message.renew_until(sent_at + self._lease - self._margin)
            else:
                message.renew_until(0.0)
        return True


class Interrupter:
    """Interrupts each actor whose lease is lost, or may be: by this process's clock alone.

    So it does with one that goes on although its message was cancelled.
    It is apart from the renewer, which may wait for a silent Redis until the lease is over.
    """

    def __init__(self, held: HeldMessages, *, margin: float, grace: float) -> None:
        """``margin``: seconds that an actor has left when its message no longer counts as held.

        ``grace``: seconds that it has to end once its message is cancelled.
        """
        self._held = held
        self._margin = margin
        self._grace = grace
        self.shutdown_at = float(
            "inf"
        )  #: ``time.monotonic()`` from which on every actor is told that the process stops

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        return self._margin / 4

    def run_once(self) -> int:
        """Interrupt whoever must not go on; answers how many leases were lost."""
        held = self._held.all()
        lost = [message for message in held if not message.lost and not message.holds()]
        for message in lost:
            interrupted = message.interrupt()
            log.warning(
                "lease.lost", message_id=message.message_id, group=message.group, interrupted=interrupted
            )
        for message in held:
            if message.cancel_requested and not message.lost and not message.cancel_interrupted:
                self._end_cancelled(message)
        if time.monotonic() >= self.shutdown_at:
            self.interrupt_running()
        return len(lost)

    def interrupt_running(self) -> None:
        """Tell every running actor, once, that the process stops."""
        for message in self._held.all():
            if not message.stopped:
                message.interrupt(Shutdown)

    def _end_cancelled(self, message: ClaimedMessage) -> None:
        # One that has not started yet never will: its thread looks first.
        if time.monotonic() >= message.cancel_asked_at + self._grace and message.interrupt(Cancelled):
            log.warning("message.cancel_interrupted", message_id=message.message_id, group=message.group)

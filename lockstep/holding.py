"""Keeps the leases of this process alive, and interrupts those who lost theirs.

One thread renews, on its own connection; another interrupts, and asks nobody. If one dies, the process exits: an
actor must not run under a lease that nobody renews, nor on beside the next holder.
"""

import time
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from lockstep import logs
from lockstep.claimed import ClaimedMessage
from lockstep.errors import RedisUnavailable
from lockstep.keys import ShardKeys

if TYPE_CHECKING:
    from lockstep.store import Store

log = logs.get_logger("lockstep.lease")


class HeldMessages:
    """The messages that this process holds leases of."""

    def __init__(self) -> None:
        self._held: dict[str, ClaimedMessage] = {}

    def add(self, message: ClaimedMessage) -> None:
        """A lease was claimed."""
        self._held[message.lease.token] = message

    def remove(self, message: ClaimedMessage) -> None:
        """A lease is about to be settled."""
        self._held.pop(message.lease.token, None)

    def __len__(self) -> int:
        return len(self._held)

    def all(self) -> list[ClaimedMessage]:
        """The held messages now."""
        return list(self._held.values())


class Renewer:
    """Renews each lease when a third of it has passed."""

    def __init__(self, store: "Store", held: HeldMessages, *, margin: float) -> None:
        """``margin``: seconds before the end of a lease from which on it no longer counts as held."""
        self._store = store
        self._link = store.new_link()
        self._held = held
        self._lease = store.settings.lease_seconds
        self._margin = margin

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        return self._lease / 12

    def run_once(self) -> int:
        """Renew what is due; answers how many leases that was."""
        due: dict[ShardKeys, list[ClaimedMessage]] = defaultdict(list)
        threshold = time.monotonic() + self._lease * 2 / 3 - self._margin
        for message in self._held.all():
            if message.deadline < threshold and not message.lost:
                due[message.exchange.shard].append(message)
        if not due:
            self._connect()
        for shard, messages in due.items():
            self._extend(shard, messages)
        return sum(map(len, due.values()))

    def _connect(self) -> None:
        """Stand ready: a new connection takes several round trips, and a lease may not have the time."""
        if not self._link.connected:
            with suppress(RedisUnavailable):  # the consumers say so; here it is tried again soon
                self._link.command("PING")

    def _extend(self, shard: ShardKeys, messages: list[ClaimedMessage]) -> None:
        sent_at = time.monotonic()
        try:
            answers = self._store.extend(self._link, shard, [(m.lease.ref, m.lease.token) for m in messages])
        except RedisUnavailable as error:
            log.warning("lease.unrenewed", queue=shard.queue, leases=len(messages), error=str(error))
            return
        for message, held in zip(messages, answers, strict=True):
            if held:
                message.deadline = sent_at + self._lease - self._margin
            else:
                message.deadline = 0.0


class Interrupter:
    """Interrupts each actor whose lease is lost, or may be: by this process's clock alone.

    It is apart from the renewer, which may wait for a silent Redis until the lease is over.
    """

    def __init__(self, held: HeldMessages, *, margin: float) -> None:
        """``margin``: seconds that an actor has left when its message no longer counts as held."""
        self._held = held
        self._margin = margin

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        return self._margin / 4

    def run_once(self) -> int:
        """Interrupt whoever must not go on; answers how many leases were lost."""
        lost = [message for message in self._held.all() if not message.lost and not message.holds()]
        for message in lost:
            interrupted = message.interrupt()
            log.warning(
                "lease.lost", message_id=message.message_id, group=message.group, interrupted=interrupted
            )
        return len(lost)

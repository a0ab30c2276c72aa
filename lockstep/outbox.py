"""Follow-up messages of a message that ended: stored with its settle, and enqueued right after it.

The settle script puts them into the outbox of its shard, under the token. The consumer enqueues them as soon as it
has the reply, and then removes them. If its process dies in between, a reaper of any process does it: an entry names
the id of its message, so a message that is enqueued twice is one message while its record is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import orjson

from lockstep import logs
from lockstep.calls import Calls
from lockstep.errors import IdempotencyConflict, RedisUnavailable
from lockstep.keys import ShardKeys
from lockstep.records import NewMessage
from lockstep.sending import Addressed, Sending

log = logs.get_logger("lockstep.outbox")

#: Entries of one outbox that a flush reads at once.
_PAGE: Final = 100

#: Milliseconds until a reaper tries an entry again that could not be delivered.
_POSTPONED_MS: Final = 10_000


class Arrival(NamedTuple):
    """A message of a Dramatiq group is done: the last one of a group enqueues what was to follow it."""

    barrier: str
    message_id: str
    callbacks: list[Addressed]


def write_message(queue_name: str, message: NewMessage) -> bytes:
    """Return an entry that enqueues a message."""
    return orjson.dumps(_described(queue_name, message))


def write_arrival(arrival: Arrival) -> bytes:
    """Return an entry that counts a message of a group as done."""
    callbacks = [_described(*one) for one in arrival.callbacks]
    return orjson.dumps({"barrier": arrival.barrier, "id": arrival.message_id, "callbacks": callbacks})


def read(entry: bytes) -> Addressed | Arrival:
    """Return what an entry stands for."""
    fields = orjson.loads(entry)
    if "barrier" in fields:
        callbacks = [_addressed(one) for one in fields["callbacks"]]
        return Arrival(fields["barrier"], fields["id"], callbacks)
    return _addressed(fields)


def is_readable(entry: bytes) -> bool:
    """Return whether an entry is written in a form that is known here; any bytes can be in Redis."""
    try:
        read(entry)
    except Exception:
        return False
    return True


def _described(queue_name: str, message: NewMessage) -> dict[str, Any]:
    # A payload may be any bytes; each is one character here.
    return {"queue": queue_name, "message": {**asdict(message), "payload": message.payload.decode("latin-1")}}


def _addressed(fields: dict[str, Any]) -> Addressed:
    message = {**fields["message"], "payload": fields["message"]["payload"].encode("latin-1")}
    return fields["queue"], NewMessage(**message)


class Outbox:
    """Enqueues what is in the outboxes of shards; a part of the store."""

    def __init__(self, calls: Calls, sending: Sending) -> None:
        self._calls = calls
        self._sending = sending

    def enqueue(self, messages: Sequence[Addressed]) -> None:
        """Enqueue follow-up messages; sending them again with the same ids changes nothing.

        Raises:
          RedisUnavailable: any of them may be in Redis.
        """
        try:
            self._sending.enqueue_owed(messages)
        except IdempotencyConflict as error:
            if len(messages) > 1:
                for one in messages:
                    self.enqueue([one])
                return
            ((queue_name, message),) = messages
            log.error("follow_up.refused", queue=queue_name, message_id=message.id, error=str(error))

    def flush(self, shards: Iterable[ShardKeys]) -> int:
        """Enqueue the messages that are in outboxes; return how many entries are left for workers to deliver.

        Raises:
          RedisUnavailable: some messages may still be in an outbox.
        """
        return sum(self._flush(shard) for shard in shards)

    def _flush(self, shard: ShardKeys) -> int:
        left = 0
        while page := self._calls.command("ZRANGE", shard.outbox, left, left + _PAGE - 1):
            readable = {entry: read(entry) for entry in page if is_readable(entry)}
            messages = {entry: one for entry, one in readable.items() if not isinstance(one, Arrival)}
            left += len(page) - len(messages)
            if messages:
                self.deliver(shard, list(messages), list(messages.values()))
        return left

    def postpone(self, shard: ShardKeys, entries: Iterable[bytes]) -> None:
        """Let entries wait that cannot be delivered now: a reaper takes the oldest, and comes to those behind them.

        Raises:
          RedisUnavailable: reapers try some of them again at once.
        """
        for entry in entries:  # never one that was removed in the meantime
            self._calls.command("ZADD", shard.outbox, "XX", "INCR", _POSTPONED_MS, entry)

    def deliver(self, shard: ShardKeys, entries: Sequence[bytes], messages: Sequence[Addressed]) -> None:
        """Enqueue the message of each entry, then remove the entries; a shard that fails holds up no other.

        If the process dies between the two, a reaper enqueues the same messages again, which changes nothing.

        Raises:
          RedisUnavailable: some entries may still be in the outbox.
        """
        delivered: list[bytes] = []
        failure: RedisUnavailable | None = None
        for places in self._sending.by_shard(messages).values():
            try:
                self.enqueue([messages[place] for place in places])
            except RedisUnavailable as error:
                failure = error
            else:
                delivered += [entries[place] for place in places]
        if delivered:
            self.remove(shard, delivered)
        if failure is not None:
            raise failure

    def remove(self, shard: ShardKeys, entries: Sequence[bytes]) -> None:
        """Remove entries that were delivered.

        Raises:
          RedisUnavailable: the entries may still be in the outbox.
        """
        self._calls.command("ZREM", shard.outbox, *entries)

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
from lockstep.errors import IdempotencyConflict
from lockstep.keys import ShardKeys
from lockstep.records import NewMessage
from lockstep.sending import Addressed, Sending

log = logs.get_logger("lockstep.outbox")

#: Entries of one outbox that a flush delivers.
_FLUSHED: Final = 1000


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

    def flush(self, shards: Iterable[ShardKeys]) -> None:
        """Enqueue the messages that are in outboxes now, up to 1,000 of a shard.

        Raises:
          RedisUnavailable: some may still be in an outbox.
        """
        for shard in shards:
            for entry in self._calls.command("ZRANGE", shard.outbox, 0, _FLUSHED - 1):
                one = read(entry)
                if not isinstance(one, Arrival):
                    self.deliver(shard, [entry], [one])

    def deliver(self, shard: ShardKeys, entries: Sequence[bytes], messages: Sequence[Addressed]) -> None:
        """Enqueue the messages of some entries, then remove the entries.

        If the process dies between the two, a reaper enqueues the same messages again, which changes nothing.

        Raises:
          RedisUnavailable: the entries may still be in the outbox.
        """
        if messages:
            self.enqueue(messages)
        self._calls.command("ZREM", shard.outbox, *entries)

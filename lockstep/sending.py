"""How messages get into Redis: which shard takes each, what it is known by, and why it may be refused."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson

from lockstep import replies
from lockstep.calls import Calls
from lockstep.keys import ShardKeys
from lockstep.memory import Memory
from lockstep.records import Accepted, NewMessage

#: A queue and a message for it.
Addressed = tuple[str, NewMessage]


class Sending:
    """Enqueues messages; a part of the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.memory = Memory(calls)
        self._intake = calls.global_key("intake")
        self._known_queues: set[str] = set()

    def enqueue(self, messages: Sequence[Addressed], *, follow_up: bool = False) -> list[Accepted]:
        """Accept messages in their order; all or none of those that share a shard of a queue.

        Before the first of several shards is written, all are asked whether they would refuse; only what changes
        between that and the write can leave a part accepted. If the process dies here, what was accepted stays
        accepted: sending the same ids or keys again is safe.

        Args:
          messages: each with its queue.
          follow_up: a running actor sends them; they are accepted while the intake is off.

        Raises:
          IdempotencyConflict: something else was asked under the same key or id; ``index`` says which message.
          IntakeOff, QueueFull, MemoryLow: not now; nothing was written.
        """
        self.memory.check()
        by_shard = self.by_shard(messages)
        if len(by_shard) > 1:
            for shard, places in by_shard.items():
                self._run(shard, messages, places, follow_up=follow_up, check=True)
        accepted: dict[int, Accepted] = {}
        for shard, places in by_shard.items():
            answers = self._run(shard, messages, places, follow_up=follow_up)
            accepted.update(
                (place, replies.accepted(messages[place][1].id, answer))
                for place, answer in zip(places, answers, strict=True)
            )
        return [accepted[place] for place in range(len(messages))]

    def enqueue_owed(self, messages: Sequence[Addressed]) -> None:
        """Accept follow-up messages, whatever the intake is and however full queues and memory are.

        They were accepted with the settle of the message before them. All or none of those that share a shard.

        Raises:
          IdempotencyConflict: something else was asked under the same key or id.
          RedisUnavailable: any of them may be accepted.
        """
        for shard, places in self.by_shard(messages).items():
            self._run(shard, messages, places, follow_up=True, owed=True)

    def declare(self, queue_name: str) -> None:
        """Note that a queue exists, once for each process, so that it can be listed."""
        if queue_name not in self._known_queues:
            self.list_queue(queue_name)
            self._known_queues.add(queue_name)

    def list_queue(self, queue_name: str) -> None:
        """Note that a queue exists."""
        self._calls.command("SADD", self._calls.global_key("queues"), queue_name)

    def by_shard(self, messages: Sequence[Addressed]) -> dict[ShardKeys, list[int]]:
        """Return for each shard the places of the messages that go to it, in their order."""
        by_shard: dict[ShardKeys, list[int]] = defaultdict(list)
        for place, (queue_name, message) in enumerate(messages):
            self.declare(queue_name)
            by_shard[self._shard_of(queue_name, message)].append(place)
        return by_shard

    def _shard_of(self, queue_name: str, message: NewMessage) -> ShardKeys:
        return self._calls.shard_of(queue_name, message.group or message.unique_by, message.id)

    def _run(
        self,
        shard: ShardKeys,
        messages: Sequence[Addressed],
        places: Sequence[int],
        *,
        follow_up: bool,
        check: bool = False,
        owed: bool = False,
    ) -> list[Any]:
        settings = self._calls.settings
        most = 0 if owed else -(-settings.max_queue_length // settings.queue_shards)
        records: dict[str, int] = {}  # name -> place in KEYS
        arguments: list[Any] = [most, int(follow_up), int(check), len(places)]
        for place in places:
            arguments += self._described(messages[place][1], records)
        keys = (self._intake, *(self._calls.global_key(f"idempotency:{name}") for name in records))
        answers = self._calls.run("enqueue", shard, arguments, keys=keys, session=True)
        if answers and isinstance(answers[0], bytes):
            raise replies.refusal(answers, [messages[place][1] for place in places], places, most)
        return list(answers)

    def _described(self, message: NewMessage, records: dict[str, int]) -> tuple[Any, ...]:
        """A message as the script reads it."""
        # Of a group of which several may run at once, each message stands for itself.
        single = message.group is None or "slots" in message.extra
        ref = f"m:{message.id}" if single else f"g:{message.group}"
        delay = message.delay_ms if message.eta_ms is None else f"={message.eta_ms}"
        extra = message.extra
        if message.known_by:
            # Places in KEYS count from 1, and two others stand before the records.
            at = [records.setdefault(name, len(records) + 3) for name in message.known_by]
            ttl = int(self._calls.settings.idempotency_ttl * 1000)
            extra = {**extra, "once": {"at": at, "prints": list(message.known_by.values()), "ttl": ttl}}
        written = orjson.dumps(extra) if extra else b""
        return message.id, ref, message.actor, message.payload, delay, int(message.blocks), written

"""Everything that Lockstep does to Redis: one typed method for each script; nobody else sends a command.

All methods may be called from any thread. Each raises ``RedisUnavailable`` within REDIS_TIMEOUT seconds when Redis
does not answer, and ``ScriptFailed`` on a defect.
"""

import os
import queue
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from redis.connection import ConnectionPool

from lockstep import replies, scripts
from lockstep.errors import NotFound
from lockstep.keys import ShardKeys, queues_key, shard_of
from lockstep.link import Call, Link, make_pool
from lockstep.records import Accepted, MessageRecord, NewMessage, QueueCounts, Reaped
from lockstep.settings import Settings

T = TypeVar("T")

#: How far into its group a message's position is counted.
POSITION_LIMIT = 1000

#: Leases and due messages that one reap handles.
REAP_BATCH = 200


class Store:
    """The state of all queues of a namespace."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._links: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._known_queues: set[str] = set()
        self._pid = os.getpid()

    @classmethod
    def connect(cls, settings: Settings) -> "Store":
        """A store that connects when it is first used."""
        return cls(settings)

    @cached_property
    def _pool(self) -> ConnectionPool:
        return make_pool(self.settings, socket_timeout=self.settings.redis_timeout / 2)

    def new_link(self) -> Link:
        """A link of one's own, for a thread that calls often."""
        return Link(self._pool, timeout=self.settings.redis_timeout)

    def new_blocking_link(self, seconds: float) -> Link:
        """A link for reads that block in Redis for up to ``seconds``."""
        pool = make_pool(self.settings, socket_timeout=seconds + self.settings.redis_timeout)
        return Link(pool, timeout=seconds + self.settings.redis_timeout)

    def shards(self, queue_name: str) -> list[ShardKeys]:
        """The keys of all shards of a queue."""
        return [
            ShardKeys(self.settings.queue_namespace, queue_name, number)
            for number in range(self.settings.queue_shards)
        ]

    # -- sending ------------------------------------------------------------------------------------------------

    def declare(self, queue_name: str) -> None:
        """Note that a queue exists, once for each process, so that it can be listed."""
        if queue_name not in self._known_queues:
            self._list_queue(queue_name)
            self._known_queues.add(queue_name)

    def _list_queue(self, queue_name: str) -> None:
        self._command("SADD", queues_key(self.settings.queue_namespace), queue_name)

    def enqueue(self, queue_name: str, messages: Sequence[NewMessage]) -> list[Accepted]:
        """Accept messages in their order; all or none of those that share a shard.

        A message whose id is known writes nothing and is answered with what is known of it. If the process dies
        here, what was accepted stays accepted: sending the same ids again is safe.
        """
        self.declare(queue_name)
        by_shard: dict[int, list[int]] = defaultdict(list)
        for place, message in enumerate(messages):
            by_shard[shard_of(message.group, message.id, self.settings.queue_shards)].append(place)
        accepted: dict[int, Accepted] = {}
        shards = self.shards(queue_name)
        for shard, places in by_shard.items():
            chosen = [messages[place] for place in places]
            answers = self._call("enqueue", shards[shard], _enqueue_arguments(chosen), session=True)
            accepted.update(
                (place, replies.accepted(message.id, answer))
                for place, message, answer in zip(places, chosen, answers, strict=True)
            )
        return [accepted[place] for place in range(len(messages))]

    # -- keeping order ------------------------------------------------------------------------------------------

    def extend(self, link: Link, shard: ShardKeys, tokens: Sequence[tuple[str, str]]) -> list[bool]:
        """Renew leases, given as ref and token, over the caller's own link; answers for each whether it holds."""
        arguments = [self.settings.lease_ms, *(part for pair in tokens for part in pair)]
        calls: list[Call] = [(scripts.load("extend"), shard.prefix + "meta", arguments)]
        return [answer == 1 for answer in link.run(lambda: calls)[0]]

    def start(self, shard: ShardKeys, ref: str, token: str) -> bool:
        """Say that a suspect starts now, so that a crash counts against it; answers whether its lease holds."""
        return bool(self._call("start", shard, [ref, token]) == 1)

    def reap(self, shard: ShardKeys, *, claimer: str = "") -> Reaped:
        """Take back leases that ended without a settle, at most ``REAP_BATCH``; let what is due go on."""
        settings = self.settings
        gap_ms = int(max(settings.lease_ms / 3, settings.reap_seconds * 2500))
        age_ms = int(settings.retention_done_age * 1000)
        arguments = [claimer, settings.lease_ms, gap_ms, settings.max_crashes, REAP_BATCH, age_ms]
        reaped = replies.reaped(self._call("reap", shard, arguments))
        if reaped.new:  # a queue is listed again soon after Redis lost its data: its workers come back first
            self._list_queue(shard.queue)
        return reaped

    def leave(self, shard: ShardKeys, claimer: str, sessions: Sequence[str]) -> None:
        """Say that a claimer stopped in order and holds nothing."""
        self._call("leave", shard, [claimer, *sessions])

    # -- operators' switches -----------------------------------------------------------------------------------

    def pause(self, queue_name: str, group: str | None = None) -> bool:
        """Claim nothing more of a queue, or of one group of it, until ``resume``; answers whether that is new.

        What runs goes on to its end; what is sent is accepted. Within the time of one claim it holds everywhere.

        Raises:
          NotFound: there is no such queue.
        """
        return self._switch("pause", queue_name, group)

    def resume(self, queue_name: str, group: str | None = None) -> bool:
        """Claim again what ``pause`` stopped, each message at its place; answers whether it was paused.

        Raises:
          NotFound: there is no such queue.
        """
        return self._switch("resume", queue_name, group)

    def _switch(self, script: str, queue_name: str, group: str | None) -> bool:
        self._check_queue(queue_name)
        shards, ref = self.shards(queue_name), ""
        if group is not None:
            shards, ref = [shards[shard_of(group, "", self.settings.queue_shards)]], f"g:{group}"
        # If the process dies between two shards, saying it again does the rest.
        changed = [self._call(script, shard, [ref]) == 1 for shard in shards]
        return any(changed)

    # -- looking ------------------------------------------------------------------------------------------------

    def message(self, message_id: str) -> MessageRecord:
        """Everything about one message.

        Raises:
          NotFound: no queue knows the id, or its record has expired.
        """
        for queue_name in self.queues():
            for shard in self.shards(queue_name):
                reply = self._call("inspect", shard, [message_id, POSITION_LIMIT])
                if reply is not None:
                    return replies.message_record(message_id, queue_name, reply)
        raise NotFound("message", message_id)

    def queues(self) -> list[str]:
        """Every queue that ever accepted a message or had a worker, sorted."""
        return sorted(
            name.decode() for name in self._command("SMEMBERS", queues_key(self.settings.queue_namespace))
        )

    def counts(self, queue_name: str) -> QueueCounts:
        """One queue in numbers, in constant time.

        Raises:
          NotFound: there is no such queue.
        """
        self._check_queue(queue_name)
        return replies.queue_counts(
            queue_name, [self._call("counts", shard, []) for shard in self.shards(queue_name)]
        )

    def _check_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues():
            raise NotFound("queue", queue_name)

    def result(self, queue_name: str, group: str | None, message_id: str) -> bytes | None:
        """What the actor of a message returned, encoded; None: nothing, or not yet, or not any more."""
        shard = self.shards(queue_name)[shard_of(group, message_id, self.settings.queue_shards)]
        value = self._command("GET", shard.result(message_id))
        return None if value is None else bytes(value)

    def ping(self) -> None:
        """Return when Redis answers."""
        self._command("PING")

    def redis_memory(self) -> int:
        """Bytes that Redis uses."""
        info = bytes(self._command("INFO", "memory"))
        return int(info.split(b"used_memory:", 1)[1].split(b"\r\n", 1)[0])

    def count(self, queue_name: str, counters: Counter[str]) -> None:
        """Add to a queue's statistics."""
        arguments = [0, "0", len(counters), *(part for pair in counters.items() for part in pair)]
        self._call("settle", self.shards(queue_name)[0], arguments, session=True)

    def close(self) -> None:
        """Close all connections that are not in use."""
        while not self._links.empty():
            self._links.get().disconnect()

    # -- one call -----------------------------------------------------------------------------------------------

    @contextmanager
    def _link(self) -> Iterator[Link]:
        if self._pid != os.getpid():  # forked: the parent's sockets are not ours
            self._links, self._pid = queue.SimpleQueue(), os.getpid()
            self.__dict__.pop("_pool", None)
        try:
            link = self._links.get_nowait()
        except queue.Empty:
            link = self.new_link()
        try:
            yield link
        finally:
            self._links.put(link)

    def _call(self, name: str, shard: ShardKeys, arguments: Sequence[Any], *, session: bool = False) -> Any:
        script, meta = scripts.load(name), shard.prefix + "meta"
        with self._link() as link:
            head = (link.session, link.next_number()) if session else ()
            calls: list[Call] = [(script, meta, (*head, *arguments))]
            build: Callable[[], list[Call]] = lambda: calls  # noqa: E731
            return link.run(build)[0]

    def _command(self, *parts: Any) -> Any:
        with self._link() as link:
            return link.command(*parts)


def _enqueue_arguments(messages: Sequence[NewMessage]) -> list[Any]:
    arguments: list[Any] = [len(messages)]
    for message in messages:
        ref = f"m:{message.id}" if message.group is None else f"g:{message.group}"
        delay = message.delay_ms if message.eta_ms is None else f"={message.eta_ms}"
        arguments += (message.id, ref, message.actor, message.payload, delay, int(message.blocks))
    return arguments

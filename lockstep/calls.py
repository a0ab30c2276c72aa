"""One call to Redis: what the store and its parts are made of. Nobody else sends a command.

All methods may be called from any thread. Each raises ``RedisUnavailable`` within REDIS_TIMEOUT seconds when Redis
does not answer, and ``ScriptFailed`` on a defect.
"""

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from dramatiq.common import iter_queue
from redis.connection import ConnectionPool

from lockstep import scripts
from lockstep.errors import NotFound
from lockstep.keys import ShardKeys, global_key, shard_of
from lockstep.link import Call, Link, make_pool
from lockstep.settings import Settings


class Calls:
    """Runs scripts and plain commands over a few connections, and knows the names of keys."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._links: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._pid = os.getpid()

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

    # -- where things are ---------------------------------------------------------------------------------------

    def global_key(self, name: str) -> str:
        """The name of a key that belongs to no shard."""
        return global_key(self.settings.queue_namespace, name)

    def shards(self, queue_name: str) -> list[ShardKeys]:
        """The keys of all shards of a queue."""
        return [
            ShardKeys(self.settings.queue_namespace, queue_name, number)
            for number in range(self.settings.queue_shards)
        ]

    def shard_of(self, queue_name: str, group: str | None, message_id: str) -> ShardKeys:
        """The shard that a group, or a message without one, lives in."""
        return self.shards(queue_name)[shard_of(group, message_id, self.settings.queue_shards)]

    def queues(self) -> list[str]:
        """Every queue that ever accepted a message or had a worker, sorted."""
        return sorted(name.decode() for name in self.command("SMEMBERS", self.global_key("queues")))

    def check_queue(self, queue_name: str) -> None:
        """Return when there is such a queue.

        Raises:
          NotFound: there is none.
        """
        if queue_name not in self.queues():
            raise NotFound("queue", queue_name)

    # -- one call -----------------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        shard: ShardKeys,
        arguments: Sequence[Any],
        *,
        keys: Sequence[str] = (),
        session: bool = False,
    ) -> Any:
        """Run a script on a shard; ``keys`` are those beside the shard's own.

        With ``session`` the call begins with a session and a number, by which the script knows a resent call.
        """
        return self.run_on(name, (shard.meta, *keys), arguments, session=session)

    def run_on(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, session: bool = False
    ) -> Any:
        """Run a script on the keys given, which may belong to no shard."""
        script = scripts.load(name)
        with self._link() as link:
            head = (link.session, link.next_number()) if session else ()
            calls: list[Call] = [(script, tuple(keys), (*head, *arguments))]
            build: Callable[[], list[Call]] = lambda: calls  # noqa: E731
            return link.run(build)[0]

    def command(self, *parts: Any) -> Any:
        """Send one plain command that may be sent twice."""
        with self._link() as link:
            return link.command(*parts)

    def idle_sessions(self) -> list[str]:
        """The sessions of the connections that are not in use: Redis keeps their last answers for a while."""
        links = list(iter_queue(self._links))  # never a get that waits: another thread may take one meanwhile
        for link in links:
            self._links.put(link)
        return [link.session for link in links]

    def close(self) -> None:
        """Close all connections that are not in use."""
        for link in iter_queue(self._links):
            link.disconnect()

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

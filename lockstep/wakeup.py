"""Wakes an idle consumer: blocks in Redis on the lists that the scripts feed, instead of polling.

A token says that something may be ready, never what: a stale one costs one empty claim. A token that is lost (the
process dies right here) is replaced by the next reap of any process.
"""

import threading
from collections.abc import Callable

from lockstep.errors import RedisUnavailable
from lockstep.keys import ShardKeys
from lockstep.link import Link

#: Seconds that one blocking read lasts; after it the consumer looks by itself.
BLOCK_SECONDS = 5

#: Seconds that closing waits for the thread: it ends at once, unless it is just connecting to a Redis that is away.
_CLOSE_SECONDS = 1.0


class WakeUp(threading.Thread):
    """A thread that waits for a token while its consumer is idle."""

    def __init__(self, link: Link, shards: list[ShardKeys], on_token: Callable[[], bool]) -> None:
        """``on_token`` answers whether the consumer could use it; otherwise the token is passed on."""
        super().__init__(name=f"wake-up-{shards[0].queue}", daemon=True)
        self._link = link
        self._keys = [shard.wake for shard in shards]
        self._on_token = on_token
        self._idle = threading.Event()
        self._closed = False

    def listen(self) -> None:
        """The consumer is idle: wake it at the next token."""
        self._idle.set()

    def close(self) -> None:
        """Stop, and end a blocking read that has begun. A wake-up notification that it takes along is replaced."""
        self._closed = True
        self._idle.set()
        self._link.abort()
        self.join(_CLOSE_SECONDS)

    def run(self) -> None:
        """The loop."""
        while not self._closed:
            self._idle.wait()
            if self._closed:
                break
            try:
                token = self._link.command("BLPOP", *self._keys, BLOCK_SECONDS)
                self._idle.clear()
                if not self._on_token() and token:
                    self._link.command("RPUSH", token[0], token[1])
            except RedisUnavailable:
                # The consumer itself finds out, and says so: it looks when its own wait ends.
                self._idle.clear()
        self._link.disconnect()

"""Wakes an idle consumer: blocks in Redis on the lists that the scripts feed, instead of polling.

A token says that something may be ready, never what: a stale one costs one empty claim. A token that is lost (the
process dies right here) is replaced by the next reap of any process, and the consumer polls by itself now and then.
"""

import threading
from collections.abc import Callable

from lockstep import logs
from lockstep.errors import LockstepError
from lockstep.failures import Failures
from lockstep.keys import ShardKeys
from lockstep.link import Link

#: Seconds that one blocking read lasts.
BLOCK_SECONDS = 5

#: Seconds that closing waits for the thread: it ends at once, unless it is just connecting to a Redis that is away.
_CLOSE_SECONDS = 1.0

#: Seconds until a failed read is tried again: at first, and at most. A message that is sent meanwhile waits as long.
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.4

log = logs.get_logger("lockstep.wakeup")


class WakeUp(threading.Thread):
    """A thread that waits for a token while its consumer is idle.

    No error ends it: Redis may refuse a blocking read at any time, as when a primary is demoted or connections are
    closed. It is tried again over a new connection, whether the consumer turns meanwhile or not.
    """

    def __init__(self, link: Link, shards: list[ShardKeys], on_token: Callable[[], bool]) -> None:
        """``on_token`` answers whether the consumer could use it; otherwise the token is passed on."""
        super().__init__(name=f"wake-up-{shards[0].queue}", daemon=True)
        self._link = link
        self._keys = [shard.wake for shard in shards]
        self._on_token = on_token
        self._idle = threading.Event()
        self._closing = threading.Event()
        self._failures = Failures("wakeup.failed", queue=shards[0].queue)
        self._refused = False  #: the last read was refused, and that is logged
        self._pause = 0.0

    def listen(self) -> None:
        """The consumer is idle: wake it at the next token."""
        self._idle.set()

    def close(self) -> None:
        """Stop, and end a blocking read that has begun. A wake-up notification that it takes along is replaced."""
        self._closing.set()
        self._idle.set()
        self._link.abort()
        self.join(_CLOSE_SECONDS)

    def run(self) -> None:
        """The loop."""
        while not self._closing.is_set():
            try:
                self._idle.wait()
                if self._closing.wait(self._pause):
                    break
                self._wait_for_token()
                self._pause, self._refused = 0.0, False
                self._failures.clear()
            except BaseException as error:
                self._pause = min(_LONGEST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
                self._note(error)
        self._link.disconnect()

    def _wait_for_token(self) -> None:
        token = self._link.command("BLPOP", *self._keys, BLOCK_SECONDS)
        if not token:
            return
        self._idle.clear()  # the consumer asks again when it has looked
        if not self._on_token():
            self._link.command("RPUSH", token[0], token[1])

    def _note(self, error: BaseException) -> None:
        if not isinstance(error, LockstepError):
            self._failures.note()
        elif not self._refused and not self._closing.is_set():
            # The consumer itself finds out whether Redis is away; this may be a refusal of this one command.
            self._refused = True
            log.warning("wakeup.refused", queue=self._failures.facts["queue"], error=str(error))

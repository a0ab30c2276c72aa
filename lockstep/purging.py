"""Takes back all that waits in a queue, or in one group of it, batch by batch.

What runs goes on; dead letters stay. If the process dies between two batches, the rest waits as before: purging
again does the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from lockstep.calls import Calls
from lockstep.checks import check_group
from lockstep.keys import ShardKeys

#: Messages that one call purges, and groups or messages that it looks at.
BATCH: Final = 500

#: Groups move while one looks for them; what a worker moved every time is found in one of so many rounds.
_ROUNDS: Final = 10

#: Priorities, each with a list of ready groups (``lua/includes/ready.lua``).
_LEVELS: Final = ("ready", *(f"ready:{level}" for level in range(1, 10)))


@dataclass(frozen=True, slots=True)
class _Reply:
    until: int  #: ms
    purged: int
    looked: int
    remaining: int


class Purges:
    """Purges queues and groups."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def purge(self, queue_name: str, group: str | None = None) -> Iterator[int]:
        """Take back what waits, is scheduled or backs off, and was accepted before this call.

        Answers how many messages each batch purged; stop asking, and the rest stays. They have no record any more, and
        count as cancelled.

        Raises:
          InvalidMessage: ``group`` is no group key.
          NotFound: there is no such queue.
        """
        if group is not None:
            check_group(group)  # the script takes an empty one for all groups
        self._calls.check_queue(queue_name)
        # Those of a group with several at once are groups of their own, spread over the shards.
        return self._purge(self._calls.shards(queue_name), group)

    def _purge(self, shards: list[ShardKeys], group: str | None) -> Iterator[int]:
        for shard in shards:
            one = _Shard(self._calls, shard, group)
            for _ in range(_ROUNDS):
                purged = 0
                for number in one.round():
                    purged += number
                    yield number
                if not purged:
                    break


class _Shard:
    """One purge of one shard."""

    def __init__(self, calls: Calls, shard: ShardKeys, group: str | None) -> None:
        self._calls = calls
        self._shard = shard
        self._group = group
        self._until: int | str = ""

    def round(self) -> Iterator[int]:
        """Look everywhere once."""
        if self._group is not None:
            yield from self._refs([f"g:{self._group}".encode()])
        yield from self._scheduled()
        for level, name in enumerate(_LEVELS):
            yield from self._ready(level, name)
        for command, name in (
            ("ZSCAN", "blocked"),
            ("SSCAN", "halted"),
            ("HSCAN", "limited"),
            ("HSCAN", "leases"),
        ):
            for refs in self._scan(command, self._shard.prefix + name):
                yield from self._refs(refs)

    def _scheduled(self) -> Iterator[int]:
        kept = 0
        while True:
            reply = self._run("scheduled", kept, BATCH)
            yield reply.purged
            kept += reply.remaining
            if reply.looked < BATCH and reply.purged < BATCH:
                return

    def _ready(self, level: int, name: str) -> Iterator[int]:
        left = int(self._calls.command("LLEN", self._shard.prefix + name))
        if self._group is not None:
            for first in range(0, left, BATCH):
                page = self._calls.command("LRANGE", self._shard.prefix + name, first, first + BATCH - 1)
                yield from self._refs(page)
            return
        while left > 0:
            reply = self._run("ready", level, min(left, BATCH))
            yield reply.purged
            left -= reply.looked
            if not reply.looked and not reply.purged:
                return  # workers took the rest

    def _refs(self, refs: list[bytes]) -> Iterator[int]:
        if self._group is not None:  # of other groups, none has a message of this one
            own = f"g:{self._group}".encode()
            refs = [ref for ref in refs if ref == own or ref.startswith(b"m:")]
        while refs:
            reply = self._run("refs", *refs[:BATCH])
            yield reply.purged
            refs = refs[reply.looked :]

    def _scan(self, command: str, key: str) -> Iterator[list[bytes]]:
        """Every ref that is there from the beginning to the end, in pages."""
        cursor = b"0"
        while True:
            cursor, found = self._calls.command(command, key, cursor, "COUNT", BATCH)
            yield found if command == "SSCAN" else found[::2]
            if cursor == b"0":
                return

    def _run(self, where: str, *arguments: Any) -> _Reply:
        reply = _Reply(
            *self._calls.run("purge", self._shard, [self._until, BATCH, self._group or "", where, *arguments])
        )
        self._until = reply.until
        return reply

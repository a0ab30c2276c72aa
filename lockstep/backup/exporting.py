"""Writes an export.

The ids are collected first, then each message is read whole, as it is when it is read. So an export is exact while
nothing moves: the intake is off and the queues are paused. Otherwise a message that is unfinished all the time is in
it, once; one that is accepted or ends meanwhile may be.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from lockstep.backup.lines import write_head, write_message
from lockstep.calls import Calls
from lockstep.fsck.pages import PAGE, Names
from lockstep.keys import ShardKeys
from lockstep.states import MessageState

#: Told how many messages were read, and of how many.
Tell = Callable[[int, int], None]

#: States of what is exported.
EXPORTED: Final = tuple(
    state for state in MessageState if state not in (MessageState.DONE, MessageState.CANCELLED)
)


class Export:
    """Reads what is unfinished or dead, of one queue or all."""

    def __init__(
        self, calls: Calls, queue: str | None = None, state: MessageState | None = None, *, left: int = 0
    ) -> None:
        """Nothing is read yet.

        Raises:
          NotFound: there is no such queue.
        """
        if queue is not None:
            calls.check_queue(queue)
        self.messages = 0  #: that were written
        self.left = (
            left  #: entries of outboxes that are not in the export, because only a worker can deliver them
        )
        self._calls = calls
        self._queues = calls.queues() if queue is None else [queue]
        self._state = state

    def lines(self, tell: Tell | None = None) -> Iterator[bytes]:
        """The lines, one after the other; each group in its order."""
        shards = [shard for queue in self._queues for shard in self._calls.shards(queue)]
        highest = max((self._highest(shard) for shard in shards), default=0)
        seconds, micros = self._calls.command("TIME")
        yield write_head(int(seconds) * 1000 + int(micros) // 1000, highest)
        found = [(shard, self._ids(shard)) for shard in shards]
        total, looked = sum(len(ids) for _, ids in found), 0
        for shard, ids in found:
            first = 0
            while first < len(ids):
                some, number = self._read(shard, ids[first : first + PAGE])
                yield from some
                first, looked = first + number, looked + number
                if tell is not None:
                    tell(looked, total)

    def _highest(self, shard: ShardKeys) -> int:
        return int(self._calls.command("HGET", shard.meta, "seq") or 0)

    def _ids(self, shard: ShardKeys) -> list[bytes]:
        """Each id once: what is in groups in their order, then the others."""
        names = Names(self._calls, shard)
        ids = {one: None for ref in sorted(names.of("group:")) for one in names.list(b"group:" + ref)}
        ids.update(dict.fromkeys(member[16:] for member in names.by_score("scheduled")))
        ids.update(dict.fromkeys(names.by_score("dead_order")))
        cursor: Any = b"0"
        while True:
            cursor, fields = self._calls.run("scan", shard, ["messages", cursor, PAGE])
            ids.update(dict.fromkeys(fields))
            if cursor == b"0":
                return list(ids)

    def _read(self, shard: ShardKeys, ids: list[bytes]) -> tuple[list[bytes], int]:
        """The lines of some of the ids, and how many ids were looked at."""
        *replies, looked = self._calls.run("export", shard, ids)
        wanted = [one for one in replies if self._state is None or one[1] == self._state.value.encode()]
        self.messages += len(wanted)
        return [write_message(shard.queue, ids[one[0] - 1].decode(), one) for one in wanted], looked

"""Reads an export back, in batches: what is known by its id is left alone.

If the process dies, the batches before are there and the others are not: importing the file again does the rest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lockstep.backup.lines import Restorable, read_head, read_message
from lockstep.calls import Calls
from lockstep.errors import InvalidMessage
from lockstep.keys import ShardKeys

#: Messages and bytes of one call, at most.
BATCH: Final = 500
_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class Imported:
    """What became of the lines."""

    restored: int = 0
    known: int = 0  #: messages that were there already, or are done: nothing was written
    joined: int = 0  #: groups that had other messages: what was imported is behind them
    let_go: int = 0  #: dead letters that block their group no longer, because it had other messages

    def view(self) -> dict[str, int]:
        """As JSON has it."""
        return {"restored": self.restored, "known": self.known, "joined": self.joined, "let_go": self.let_go}


class _Batch:
    """Messages of one shard that wait to be written."""

    def __init__(self) -> None:
        self.messages: list[Restorable] = []
        self.size = 0
        self.base: bytes | str = ""  # what the script adds to each sequence

    def add(self, message: Restorable, size: int) -> bool:
        """Answers whether it is time to write them."""
        self.messages.append(message)
        self.size += size
        return len(self.messages) >= BATCH or self.size >= _BYTES

    def take(self) -> list[Restorable]:
        """All of them; none is left."""
        messages, self.messages, self.size = self.messages, [], 0
        return messages


class Import:
    """Puts messages back."""

    def __init__(self, calls: Calls, declare: Callable[[str], None]) -> None:
        """``declare`` notes that a queue exists."""
        self.imported = Imported()
        self._calls = calls
        self._declare = declare
        self._highest = 0
        self._batches: dict[ShardKeys, _Batch] = {}

    def read(self, lines: Iterable[bytes], tell: Callable[[int], None] | None = None) -> Imported:
        """Put every message of an export back that is not known; ``tell`` is given the bytes of each line.

        Raises:
          InvalidMessage: a line is wrong; ``field`` begins with its number. Some of those before it are in Redis.
        """
        head = False
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    if head:
                        self._add(read_message(line), len(line))
                    else:
                        self._highest, head = read_head(line), True
                except InvalidMessage as error:
                    field = f"line {number} {error.field}".rstrip()
                    raise InvalidMessage(field, error.problem) from None
            if tell is not None:
                tell(len(line))
        if not head:
            raise InvalidMessage("line 1", "expected the first line of an export, got nothing")
        for shard in self._batches:
            self._flush(shard)
        return self.imported

    def _add(self, message: Restorable, size: int) -> None:
        shard = self._calls.shard_of(message.queue, message.group, message.id)
        if self._batches.setdefault(shard, _Batch()).add(message, size):
            self._flush(shard)

    def _flush(self, shard: ShardKeys) -> None:
        batch = self._batches[shard]
        messages = batch.take()
        if not messages:
            return
        self._declare(shard.queue)
        arguments: list[Any] = [batch.base, self._highest, len(messages)]
        for one in messages:
            arguments += (one.id, one.ref, one.actor, one.payload, orjson.dumps(one.facts))
        batch.base, written, joined, let_go = self._calls.run("restore", shard, arguments, session=True)
        self.imported.restored += sum(written)
        self.imported.known += len(written) - sum(written)
        self.imported.joined += joined
        self.imported.let_go += let_go

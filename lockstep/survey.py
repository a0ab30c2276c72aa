"""The deepest and the oldest groups of a queue, without a look at all of them at once.

With few groups (``BATCH`` in a shard) they are read when somebody asks. With more, the reapers go through them, a
batch a step, and keep the ``KEPT`` most extreme ones; whoever asks is told those, as they are now. So what is told is
always true of a group that is there, and the most extreme one may be missed until the search comes by: after at most
one pass, unless it moves from place to place just before the search.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lockstep.calls import Calls
from lockstep.keys import ShardKeys

#: Groups of a shard that one step, or one question, looks at.
BATCH: Final = 300

#: Milliseconds between two steps in a shard, however many processes reap.
GAP_MS: Final = 400

#: Groups of each kind that the search keeps: the most that can be listed in order.
KEPT: Final = 100


class GroupOrder(StrEnum):
    """What groups are ordered by, the most first."""

    DEPTH = "depth"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Mark:
    """How deep and how old one group is."""

    shard: ShardKeys
    ref: str
    depth: int  #: messages that have not ended
    age_ms: int  #: since its head was accepted, or since its due time when it was delayed

    @property
    def group(self) -> str | None:
        """Its key; None: a message without a group."""
        return self.ref[2:] if self.ref.startswith("g:") else None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The groups of a queue that are the most extreme, as far as they are known."""

    exact: bool  #: all groups were looked at
    deepest: list[Mark]
    oldest: list[Mark]

    def by(self, order: GroupOrder) -> list[Mark]:
        """The most first."""
        return self.deepest if order is GroupOrder.DEPTH else self.oldest


class Survey:
    """The part of the store that searches and ranks groups. Raises and threads: see ``Calls``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def step(self, shard: ShardKeys) -> bool:
        """Go on with the search in a shard; answers whether there is one: with few groups there is no need.

        If the process dies, the next step, here or elsewhere, goes on from the last one.
        """
        looked, passes = self._calls.run("survey", shard, [BATCH, GAP_MS, KEPT])
        return bool(looked or passes)

    def ranking(self, queue: str, wanted: int = 1) -> Ranking:
        """The ``wanted`` deepest and oldest groups of a queue, at most ``KEPT``.

        Raises:
          NotFound: there is no such queue.
        """
        self._calls.check_queue(queue)
        shards = self._calls.shards(queue)
        replies = [(shard, self._calls.run("rank", shard, [BATCH, min(wanted, KEPT)])) for shard in shards]
        deepest = [mark for shard, reply in replies for mark in _marks(shard, reply[1])]
        oldest = [mark for shard, reply in replies for mark in _marks(shard, reply[2])]
        return Ranking(
            all(reply[0] == 1 for _, reply in replies),
            sorted(deepest, key=lambda mark: (-mark.depth, mark.ref))[:wanted],
            sorted(oldest, key=lambda mark: (-mark.age_ms, mark.ref))[:wanted],
        )


def _marks(shard: ShardKeys, flat: list[Any]) -> list[Mark]:
    return [
        Mark(shard, ref.decode(), depth, age)
        for ref, depth, age in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]

"""Counts that stand beside what they count: what runs under limits, dead letters by actor, leases to be cancelled.

No script can count all of it, so a count is only called wrong when several looks agree on what it should be, and it is
only corrected while it still is what it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from lockstep.calls import Calls
from lockstep.fsck.findings import Finding
from lockstep.fsck.pages import PAGE, scan
from lockstep.keys import ShardKeys

#: Looks that must agree.
_LOOKS: Final = 3

#: Dead letters that one call looks at.
_LETTERS: Final = 500


class Counts:
    """Checks and corrects counts."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._running = calls.global_key("limits:running")

    def find_running(self) -> list[Finding]:
        """Instances of limits that count another number than run, over all queues."""
        return _agreed(self._look_at_running)

    def find_of_shard(self, shard: ShardKeys) -> list[Finding]:
        """Actors whose dead letters are counted wrongly, and leases to be cancelled that are not there."""
        return _agreed(lambda: self._look_at_dead(shard)) + self._stale_tokens(shard)

    def repair(self, finding: Finding) -> bool:
        """Correct one; answers whether it still was what it had been."""
        if finding.what == "token":
            return bool(self._calls.command("SREM", finding.where, finding.name))
        was = finding.fault.removeprefix("counts ").removeprefix("0")
        key = finding.where.decode()
        return bool(self._calls.run_on("recount", [key], [finding.name, was, finding.right]))

    def _look_at_running(self) -> list[Finding]:
        right: Counter[bytes] = Counter()
        for queue in self._calls.queues():
            for shard in self._calls.shards(queue):
                for _, slots in self._held(shard):
                    right.update(slots)
        return self._compare("", -1, self._running, right)

    def _look_at_dead(self, shard: ShardKeys) -> list[Finding]:
        right: Counter[bytes] = Counter()
        place: list[bytes | str] = ["", ""]
        while True:
            *place, letters = self._calls.run("list_dead", shard, ["{}", _LETTERS, _LETTERS, *place])
            right.update(letter[2] for letter in letters)
            if place[1] == b"":
                return self._compare(shard.queue, shard.shard, shard.prefix + "dead_actors", right)

    def _compare(self, queue: str, shard: int, key: str, right: Counter[bytes]) -> list[Finding]:
        flat = self._calls.command("HGETALL", key)
        counted = dict(zip(flat[::2], flat[1::2], strict=True))
        return [
            Finding(
                queue,
                shard,
                "count",
                name,
                key.encode(),
                f"counts {counted.get(name, b'0').decode()}",
                str(right[name]),
            )
            for name in {*counted, *right}
            if int(counted.get(name, 0)) != right[name]
        ]

    def _held(self, shard: ShardKeys) -> Iterator[tuple[bytes, list[bytes]]]:
        seen: set[bytes] = set()  # a page may bring a lease again
        for refs in scan(self._calls, shard.prefix + "leases", "HSCAN"):
            for first in range(0, len(refs), PAGE):
                for token, slots in self._calls.run("held", shard, refs[first : first + PAGE]):
                    if token not in seen:
                        seen.add(token)
                        yield token, slots

    def _stale_tokens(self, shard: ShardKeys) -> list[Finding]:
        """A token never comes back: one that is there before and after no lease had it is left over."""
        key = shard.prefix + "cancelling"
        before = set(self._calls.command("SMEMBERS", key))
        if not before:
            return []
        before.difference_update(token for token, _ in self._held(shard))
        stale = before.intersection(self._calls.command("SMEMBERS", key))
        return [
            Finding(shard.queue, shard.shard, "token", one, key.encode(), "without lease") for one in stale
        ]


def _agreed(look: Callable[[], list[Finding]]) -> list[Finding]:
    found = look()
    for _ in range(_LOOKS - 1):
        if not found:
            break
        again = set(look())
        found = [one for one in found if one in again]
    return found

"""Counts that stand beside what they count: what runs under limits, dead letters by actor, leases to be cancelled."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from lockstep.calls import Calls
from lockstep.fsck.findings import Finding
from lockstep.fsck.pages import PAGE, scan
from lockstep.keys import ShardKeys

#: Leases that one script counts at once; where there are more, what runs under limits is not checked.
MOST_LEASES: Final = 20_000

#: Dead letters cannot be counted in one script: a number is wrong when so many looks agree on it.
_LOOKS: Final = 3

#: Dead letters that one call looks at.
_LETTERS: Final = 500


class Counts:
    """Checks and corrects counts."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    # -- what runs under limits ---------------------------------------------------------------------------------

    def find_running(self, *, repair: bool = False) -> list[Finding] | None:
        """Instances of limits that count another number than run; None: there are too many leases to look at.

        With ``repair`` they count right from now on.
        """
        running = self._calls.global_key("limits:running")
        leases = [
            shard.prefix + "leases" for queue in self._calls.queues() for shard in self._calls.shards(queue)
        ]
        reply = self._calls.run_on("running", [running, *leases], [MOST_LEASES, int(repair)])
        if reply is None:
            return None
        return [
            Finding("", -1, "running", name, running.encode(), f"counts {counted}", str(right))
            for name, counted, right in reply
        ]

    # -- counts of a shard --------------------------------------------------------------------------------------

    def find_of_shard(self, shard: ShardKeys) -> list[Finding]:
        """Actors whose dead letters are counted wrongly, and leases to be cancelled that are not there."""
        found = self._look_at_dead(shard)
        for _ in range(_LOOKS - 1):
            if not found:
                break
            again = set(self._look_at_dead(shard))
            found = [one for one in found if one in again]
        return found + self._stale_tokens(shard)

    def repair(self, finding: Finding) -> bool:
        """Correct one of a shard, unless it changed since; answers whether it was wrong still."""
        if finding.what == "token":
            return bool(self._calls.command("SREM", finding.where, finding.name))
        was = finding.fault.removeprefix("counts ")
        arguments = [finding.name, "" if was == "0" else was, finding.right]
        return bool(self._calls.run_on("recount", [finding.where.decode()], arguments))

    def _look_at_dead(self, shard: ShardKeys) -> list[Finding]:
        right: Counter[bytes] = Counter()
        place: list[bytes | str] = ["", ""]
        while True:
            *place, letters = self._calls.run("list_dead", shard, ["{}", _LETTERS, _LETTERS, *place])
            right.update(letter[2] for letter in letters)
            if place[1] == b"":
                break
        key = shard.prefix + "dead_actors"
        flat = self._calls.command("HGETALL", key)
        counted = {name: int(number) for name, number in zip(flat[::2], flat[1::2], strict=True)}
        return [
            Finding(
                queue=shard.queue,
                shard=shard.shard,
                what="count",
                name=name,
                where=key.encode(),
                fault=f"counts {counted.get(name, 0)}",
                right=str(right[name]),
            )
            for name in {*counted, *right}
            if counted.get(name, 0) != right[name]
        ]

    def _stale_tokens(self, shard: ShardKeys) -> list[Finding]:
        """A token never comes back: one that is there before and after no lease had it is left over."""
        key = shard.prefix + "cancelling"
        before = set(self._calls.command("SMEMBERS", key))
        if not before:
            return []
        before.difference_update(self._tokens(shard))
        stale = before.intersection(self._calls.command("SMEMBERS", key))
        return [
            Finding(shard.queue, shard.shard, "token", one, key.encode(), "without lease") for one in stale
        ]

    def _tokens(self, shard: ShardKeys) -> Iterator[bytes]:
        for refs in scan(self._calls, shard.prefix + "leases", "HSCAN"):
            for first in range(0, len(refs), PAGE):
                yield from self._calls.run("held", shard, refs[first : first + PAGE])

"""Checks queues and mends them: pages from here, judged and mended by scripts.

Safe beside workers. A script judges each thing whole, and what it finds counts only when it finds it again. If the
process dies between two repairs, the rest is as wrong as before: running it again does the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from lockstep import outbox
from lockstep.calls import Calls
from lockstep.fsck.counts import MOST_LEASES, Counts
from lockstep.fsck.findings import Finding, Report
from lockstep.fsck.pages import PAGE, Item, Pages, scan
from lockstep.keys import ShardKeys

#: Things that one call mends.
_MENDED: Final = 50

#: One repair can uncover the next: so many rounds, then what is left is told.
_ROUNDS: Final = 5


_T = TypeVar("_T")


@dataclass(slots=True)
class _Progress:
    checked: int = 0
    tell: Callable[[int], None] | None = None

    def add(self, number: int) -> None:
        self.checked += number
        if self.tell is not None:
            self.tell(self.checked)


class Fsck:
    """Checks the structure, and repairs it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._counts = Counts(calls)

    def run(
        self, queue: str | None = None, *, repair: bool = False, tell: Callable[[int], None] | None = None
    ) -> Report:
        """Check one queue or all of them; with ``repair`` mend what is wrong.

        ``tell`` is called with the number of things that were looked at so far.

        Raises:
          NotFound: there is no such queue.
        """
        if queue is not None:
            self._calls.check_queue(queue)
        queues = self._calls.queues() if queue is None else [queue]
        progress = _Progress(tell=tell)
        report = Report()
        report.found = report.left = self._check(queues, progress, report)
        for _ in range(_ROUNDS if repair else 0):
            if not report.left:
                break
            report.repaired += self._repair(report.left)
            report.left = self._check(queues, progress, report)
        report.checked = progress.checked
        return report

    def check_shard(self, shard: ShardKeys) -> list[Finding]:
        """What is wrong in one shard."""
        return self._check_shard(shard, _Progress())

    # -- checking -----------------------------------------------------------------------------------------------

    def _check(self, queues: Iterable[str], progress: _Progress, report: Report) -> list[Finding]:
        found = [
            finding
            for queue in queues
            for shard in self._calls.shards(queue)
            for finding in self._check_shard(shard, progress)
        ]
        running = self._counts.find_running()
        if running is None:
            report.unchecked = [f"what runs under limits: there are more than {MOST_LEASES} leases"]
        found += running or []
        return sorted(found, key=lambda one: one.rank)

    def _check_shard(self, shard: ShardKeys, progress: _Progress) -> list[Finding]:
        suspected: list[Item] = []
        for batch in _batches(Pages(self._calls, shard).items(), PAGE):
            suspected += [(one.what, one.name, one.where, "") for one in self._judge(shard, batch)]
            progress.add(len(batch))
        found = [
            finding
            for batch in _batches(dict.fromkeys(suspected), _MENDED)
            for finding in self._judge(shard, batch)
        ]
        return found + self._counts.find_of_shard(shard) + self._unreadable(shard)

    def _unreadable(self, shard: ShardKeys) -> list[Finding]:
        """Return the entries of the outbox that no process can deliver."""
        entries = [entry for page in scan(self._calls, shard.outbox, "ZSCAN") for entry in page]
        return [
            Finding(shard.queue, shard.shard, "follow_up", entry, shard.outbox.encode(), "unreadable")
            for entry in dict.fromkeys(entries)
            if not outbox.is_readable(entry)
        ]

    def _judge(self, shard: ShardKeys, batch: Sequence[Item]) -> list[Finding]:
        reply = self._calls.run("check", shard, [part for item in batch for part in item])
        return [_finding(shard, one) for one in reply]

    # -- mending ------------------------------------------------------------------------------------------------

    def _repair(self, findings: Sequence[Finding]) -> list[Finding]:
        by_shard: dict[tuple[str, int], list[Finding]] = {}
        repaired: list[Finding] = []
        for one in findings:
            if one.what in ("count", "token"):
                repaired += [one] if self._counts.repair(one) else []
            elif one.what == "running":
                repaired += self._counts.find_running(repair=True) or []
            elif one.what == "follow_up":
                continue  # nothing says what it was: it stays for a person to read
            else:
                by_shard.setdefault((one.queue, one.shard), []).append(one)
        for (queue, number), of_shard in by_shard.items():
            repaired += self._repair_shard(self._calls.shards(queue)[number], of_shard)
        return repaired

    def _repair_shard(self, shard: ShardKeys, findings: Sequence[Finding]) -> list[Finding]:
        things = dict.fromkeys((one.what, one.name, one.where) for one in findings)
        limits = self._calls.global_key("limits")
        repaired: list[Finding] = []
        for batch in _batches(things, _MENDED):
            arguments = [self._calls.settings.lease_ms, *(part for thing in batch for part in thing)]
            reply = self._calls.run("repair", shard, arguments, keys=[limits])
            repaired += [_finding(shard, one) for one in reply]
        return repaired


def _finding(shard: ShardKeys, reply: Sequence[Any]) -> Finding:
    what, name, where, fault = reply
    return Finding(shard.queue, shard.shard, what.decode(), name, where, fault.decode())


def _batches(things: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch

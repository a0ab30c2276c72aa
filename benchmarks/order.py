"""Checks that every message ran, once, and in the order of its group."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.records import Run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a run; all zero: nothing."""

    violations: int  #: messages that did not start after the one before them in their group
    lost: int  #: messages that never ran
    extra: int  #: runs beyond the first of a message

    @property
    def clean(self) -> bool:
        """Whether the order was kept, nothing was lost and nothing ran twice."""
        return self == Verdict(0, 0, 0)


def check(runs: Iterable[Run], expected: Iterable[tuple[int, int]]) -> Verdict:
    """Judge ``runs`` against the messages that were sent, as (group, number)."""
    starts: dict[int, dict[int, int]] = defaultdict(dict)
    extra = 0
    for group, number, at in sorted(runs, key=lambda run: run.at):
        if number in starts[group]:
            extra += 1
        else:
            starts[group][number] = at
    violations = 0
    for first_starts in starts.values():
        in_order = [first_starts[number] for number in sorted(first_starts)]
        violations += sum(after <= before for before, after in pairwise(in_order))
    lost = sum(number not in starts[group] for group, number in expected)
    return Verdict(violations, lost, extra)

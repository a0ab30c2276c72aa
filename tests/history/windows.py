"""What a limit allows, checked over when runs really started: every sliding window, and how much of it was used."""

from collections.abc import Iterable, Sequence
from itertools import pairwise


def fullest(starts: Sequence[int], window_ns: int) -> int:
    """How many starts the fullest window holds; a window is half-open, wherever it begins."""
    ordered, most, first = sorted(starts), 0, 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - window_ns:
            first += 1
        most = max(most, last - first + 1)
    return most


def used(starts: Sequence[int], count: int, window_ns: int) -> float:
    """The part of a limit that was used, from the first start on, while more waited than it could take.

    Those of the first window may all come at once, so only what came after it is compared with the time it took.
    """
    ordered = sorted(starts)
    later = len(ordered) - count
    took = (ordered[-1] - ordered[0]) / window_ns
    return later / (took * count)


def most_at_once(runs: Iterable[tuple[int, int]]) -> int:
    """How many runs, given as start and end, ran at the same time; one that ends as another starts does not count."""
    changes = sorted([(start, 1) for start, _ in runs] + [(end, -1) for _, end in runs])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def longest_gap(starts: Sequence[int]) -> int:
    """Nanoseconds between two starts that follow each other, at most."""
    return max((after - before for before, after in pairwise(sorted(starts))), default=0)

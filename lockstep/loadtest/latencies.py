"""Percentiles of many durations in little memory."""

import math
from collections import Counter
from typing import Any, Final

#: Each bucket is so much wider than the one before: what is answered is at most 1 % off.
_GROWTH: Final = 1.02

#: Milliseconds of the first bucket's upper bound.
_LEAST: Final = 0.01

#: What is told of durations.
PERCENTILES: Final = (50, 95, 99)


class Latencies:
    """Durations in milliseconds, counted in buckets of equal ratio; their number is bounded by the longest."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, ms: float) -> None:
        """Count one; less than nothing counts as nothing."""
        self.count += 1
        self.longest = max(self.longest, ms)
        self._buckets[max(0, math.ceil(math.log(max(ms, _LEAST) / _LEAST, _GROWTH)))] += 1

    def percentile(self, percent: float) -> float | None:
        """Milliseconds within which so many per cent were; None: there were none."""
        wanted, found = math.ceil(self.count * percent / 100), 0
        for bucket in sorted(self._buckets):
            found += self._buckets[bucket]
            if found >= wanted:
                middle = _LEAST * _GROWTH ** (bucket - 0.5) if bucket else 0.0
                return min(middle, self.longest)
        return None

    def view(self) -> dict[str, Any]:
        """The percentiles and the longest, milliseconds."""
        if not self.count:
            return {**{f"p{percent}": None for percent in PERCENTILES}, "max": None}
        found = {f"p{percent}": round(self.percentile(percent) or 0.0, 2) for percent in PERCENTILES}
        return {**found, "max": round(self.longest, 2)}

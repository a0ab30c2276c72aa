"""What each run of the no-op actor leaves behind: its group, its number, and when it started.

A worker process writes fixed-size records into a mapped file, which costs a fraction of a microsecond,
asks nothing of Redis, and can be read by another process at any time, also after a kill. Times are of
CLOCK_MONOTONIC, which all processes of a machine share.
"""

import itertools
import mmap
import os
import struct
import time
from bisect import bisect_left
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

_RECORD: Final = struct.Struct("<IIQ")
_PREFIX: Final = "records-"


class Run(NamedTuple):
    """One run of the actor; ``at`` is in nanoseconds, and 0 in a place not yet written."""

    group: int
    number: int
    at: int


def body(group: int, number: int, size: int) -> str:
    """A payload of ``size`` bytes that says which message it is of which group."""
    return f"{group}:{number}:".ljust(size, "x")


class Recorder:
    """Writes the runs of one worker process; its threads share it."""

    def __init__(self, directory: Path, capacity: int) -> None:
        path = directory / f"{_PREFIX}{os.getpid()}"
        with path.open("w+b") as file:
            file.truncate(capacity * _RECORD.size)
            self._map = mmap.mmap(file.fileno(), 0)
        self._places = itertools.count()

    def add(self, text: str) -> None:
        """Record that the message with this body starts now."""
        at = time.monotonic_ns()
        group, number, _ = text.split(":", 2)
        # A place is drawn in one step under the interpreter's lock, so no two threads share one.
        _RECORD.pack_into(self._map, next(self._places) * _RECORD.size, int(group), int(number), at)


class Reader:
    """Reads what all worker processes of one run recorded, also after they and their files are gone."""

    def __init__(self, directory: Path) -> None:
        self._maps: list[mmap.mmap] = []
        for path in sorted(directory.glob(f"{_PREFIX}*")):
            with path.open("rb") as file:
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def count(self) -> int:
        """How many runs were recorded; a place still being written may hide those after it for a moment."""
        return sum(bisect_left(range(_places(data)), 1, key=partial(_empty, data)) for data in self._maps)

    def runs(self) -> list[Run]:
        """Every run recorded so far, of all processes."""
        found = (Run(*record) for data in self._maps for record in _RECORD.iter_unpack(data))
        return [run for run in found if run.at]


def _places(data: mmap.mmap) -> int:
    return len(data) // _RECORD.size


def _empty(data: mmap.mmap, place: int) -> int:
    return int(_RECORD.unpack_from(data, place * _RECORD.size)[2] == 0)

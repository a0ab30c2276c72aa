"""What this process may use of its machine, and how many threads suit that.

``WORKER_CONCURRENCY=auto`` is: four threads for each CPU, shared out among the processes of the worker, but no more
than there is memory for, at 128 MiB for each process and 64 MiB for each thread; from 1 to 64.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockstep.parsing import integer

#: Threads for each CPU: actors mostly wait for others, and Python runs one thread of a process at a time.
THREADS_PER_CPU: Final = 4

#: Bytes that a process takes before its first thread, and that each thread may take.
PROCESS_BYTES: Final = 128 << 20
THREAD_BYTES: Final = 64 << 20

#: Threads of one process, at most.
MOST_THREADS: Final = 64

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")

_number = integer(1, 1024)


class Automatic(int):
    """A number that was found here, not set; 0: it has not been found yet."""


def concurrency(text: str) -> int:
    """A number of threads, or ``auto``, which answers ``Automatic(0)``: the processes are not known here."""
    if text.strip().lower() == "auto":
        return Automatic(0)
    try:
        return _number(text)
    except ValueError as error:
        raise ValueError(f"expected a number of threads or auto: {error}") from None


@dataclass(frozen=True)
class Machine:
    """What a process may use: of the machine, or of the control group (version 2) that limits it."""

    cpus: float
    memory: int | None  #: bytes; None: not known

    @classmethod
    def read(cls, *, cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> "Machine":
        """Look. What cannot be read limits nothing."""
        cpus, memory = _usable_cpus(), _total_memory()
        for group in _groups(cgroups, own):
            cpus = min(cpus, _quota(group) or cpus)
            limit = _limit(group)
            memory = limit if memory is None else min(memory, limit or memory)
        return cls(cpus, memory)

    def threads(self, processes: int) -> Automatic:
        """Threads of each of so many processes."""
        threads = math.ceil(THREADS_PER_CPU * self.cpus / processes)
        if self.memory is not None:
            threads = min(threads, (self.memory // processes - PROCESS_BYTES) // THREAD_BYTES)
        return Automatic(max(1, min(MOST_THREADS, threads)))


def _usable_cpus() -> float:
    if hasattr(os, "sched_getaffinity"):
        return float(len(os.sched_getaffinity(0)))
    return float(os.cpu_count() or 1)


def _total_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """The control group of this process and all above it: the tightest of them counts."""
    lines = _read(own).splitlines()
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None:
        return []
    group = cgroups / path
    return [group, *(parent for parent in group.parents if parent == cgroups or cgroups in parent.parents)]


def _quota(group: Path) -> float | None:
    """CPUs by ``cpu.max``, which holds two times in microseconds, or ``max``; None: no limit."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _limit(group: Path) -> int | None:
    """Bytes by ``memory.max``; None: no limit."""
    limit = _read(group / "memory.max")
    return int(limit) if limit.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""

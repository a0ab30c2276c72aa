"""Stop a process where it stands, as a frozen machine does."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_for


def freeze(pid: int) -> None:
    """Stop every thread of a process; return when none runs any more.

    The signal returns at once, but a thread on another core goes on until it next enters the kernel.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_for(f"process {pid} stands still", lambda: all(state in "tTZX" for state in _states(pid)))


def _states(pid: int) -> Iterator[str]:
    """The state letter of each thread (proc_pid_stat(5))."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # this thread ended in the meantime
            yield stat.read_text().rpartition(")")[2].split()[0]

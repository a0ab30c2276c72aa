"""Says to Redis what this process is and does, from a thread of its own: nothing else waits for it."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lockstep import clean, logs, release
from lockstep.errors import LockstepError
from lockstep.processes import REPORT_SECONDS, Processes, ProcessRecord, ProcessState, ProcessType
from lockstep.service import Service
from lockstep.settings import Settings

#: Seconds between two looks whether a process that starts is ready now; only a change is reported.
_LOOK_SECONDS: Final = 0.1

#: Seconds between two tries while Redis is away.
_AGAIN_SECONDS: Final = 1.0

log = logs.get_logger("lockstep.processes")


@dataclass(frozen=True, slots=True)
class Look:
    """What a process does at a moment."""

    state: ProcessState
    busy: int = 0
    done: int = 0
    queues: tuple[str, ...] = ()


def identity(
    type_: ProcessType,
    name: str,
    settings: Settings,
    *,
    role: str = "",
    master_pid: int | None = None,
    capacity: int = 0,
    siblings: int = 1,
) -> ProcessRecord:
    """What stays the same in every report of this process."""
    return ProcessRecord(
        name=name,
        type=type_,
        role=role,
        instance=settings.instance_id,
        host=clean.text(socket.gethostname()),
        pid=os.getpid(),
        master_pid=master_pid or os.getpid(),
        boot=secrets.token_hex(8),
        version=release.version(),
        started_ms=int(time.time() * 1000),
        state=ProcessState.STARTING,
        capacity=capacity,
        siblings=siblings,
    )


class Reporter:
    """Reports one process: at its start, when its state changes, and every ``REPORT_SECONDS``.

    While Redis is away nothing is reported, and the process is forgotten; soon after Redis is back it is known again.
    If a report fails for another reason, the work goes on and it is tried again: that nobody hears of the process
    meanwhile says so.
    """

    def __init__(
        self, processes: Processes, process: ProcessRecord, look: Callable[["Reporter"], Look]
    ) -> None:
        """``look`` answers what the process does; it is called in the reporter's thread."""
        self.heard = False  #: Redis has answered the last report
        self._processes = processes
        self._process = process
        self._look = look
        self._reported_at = float("-inf")
        self._leaving = False
        self._left = threading.Event()
        self._service = Service("reporter", self, lambda _: None)

    # -- what the process calls ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Report from now on."""
        self._service.start()
        self._service.wake()

    def wake(self) -> None:
        """The state has changed: say so at once."""
        self._service.wake()

    def leave(self, seconds: float) -> None:
        """The process stops in order: withdraw it, and wait for that at most so long. Then nothing is reported.

        If the process dies before, or Redis is away, it is forgotten by itself.
        """
        self._leaving = True
        self._service.wake()
        self._left.wait(seconds)
        self._service.stop()
        if self._service.is_alive():
            self._service.join(seconds)

    # -- what the service calls ---------------------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        if not self.heard:
            return _AGAIN_SECONDS
        return _LOOK_SECONDS if self._process.state is ProcessState.STARTING else REPORT_SECONDS

    def run_once(self) -> bool:
        """Report what is new, or was said long ago; answers whether there was anything to say."""
        try:
            if self._leaving:
                return self._withdraw()
            look = self._look(self)
            due = time.monotonic() >= self._reported_at + REPORT_SECONDS * 0.9
            if look.state is self._process.state and not due:
                return False
            self._report(look)
        except LockstepError as error:
            self._on_error(error)
        return True

    def _report(self, look: Look) -> None:
        self._process = replace(
            self._process,
            state=look.state,
            busy=look.busy,
            done=look.done,
            queues=look.queues,
            memory_bytes=memory_bytes(),
        )
        self._processes.report(self._process)
        self._reported_at = time.monotonic()
        self.heard = True

    def _withdraw(self) -> bool:
        if self._left.is_set():
            return False
        try:
            self._processes.withdraw(self._process.name)
        finally:
            self._left.set()
        return True

    def _on_error(self, error: LockstepError) -> None:
        if self.heard:  # said once, until it is heard again
            log.warning("process.unreported", error=str(error))
        self.heard = False
        self._reported_at = float("-inf")


def memory_bytes() -> int:
    """Bytes of memory that this process has resident; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

"""Is what supervisord started ready, and does it work? Judged by what the processes say of themselves in Redis."""

import socket
import time
from collections.abc import Iterable
from typing import Final

from lockstep.errors import RedisUnavailable
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.states import GroupState
from lockstep.store import Store
from lockstep.supervision.control import LIVE, Control, Program, ProgramState

#: Seconds between two looks.
LOOK_SECONDS: Final = 0.1
#: Bytes and lines of a log that are shown.
_TAIL_BYTES: Final = 16_384
_TAIL_LINES: Final = 25


class Readiness:
    """Waits until a program is ready, or says why it is not."""

    def __init__(self, control: Control, store: Store, seconds: float) -> None:
        self._control = control
        self._store = store
        self._seconds = seconds

    def records_of(self, program: Program) -> list[ProcessRecord]:
        """What the processes of a program last said; none of one that does not run.

        Raises:
          RedisUnavailable: nobody can say.
        """
        if not program.pid:
            return []
        mine = (socket.gethostname(), program.pid)
        return [one for one in self._store.processes.listing() if (one.host, one.master_pid) == mine]

    def is_of(self, program: Program, version: str) -> bool:
        """Whether a program is ready and all its processes run a release.

        Raises:
          RedisUnavailable: nobody can say.
        """
        records = self.records_of(program)
        return not _not_ready(records) and {record.version for record in records} == {version}

    def is_ready(self, program: Program) -> bool:
        """Whether a program runs and each of its processes has reported that it is ready.

        Raises:
          RedisUnavailable: nobody can say.
        """
        return program.state in LIVE and not _not_ready(self.records_of(program))

    def wait(self, started: Program) -> str:
        """Wait for a program that was just started; empty when it is ready, else what is wrong with it."""
        deadline = time.monotonic() + self._seconds
        while True:
            now = self._control.program(started.address)
            if now.state not in LIVE or now.pid != started.pid:
                return "it ended while it was starting"
            problem = self._problem(now)
            if not problem:
                return ""
            if time.monotonic() >= deadline:
                return f"not ready within {self._seconds:g} s: {problem}"
            time.sleep(LOOK_SECONDS)

    def _problem(self, program: Program) -> str:
        if program.type not in set(ProcessType):  # the listener reports nothing
            return "" if program.state is ProgramState.RUNNING else "it has not run for long enough"
        try:
            records = self.records_of(program)
            return _not_ready(records) or self._not_working(records)
        except RedisUnavailable as error:
            return f"Redis does not answer: {error}"

    def _not_working(self, records: Iterable[ProcessRecord]) -> str:
        """Empty when each worker process has taken a message, or there is none that it could take."""
        idle = {
            queue
            for record in records
            if record.type is ProcessType.WORKER and not (record.busy or record.done)
            for queue in record.queues
        }
        counts = map(self._store.counts, sorted(idle))
        waiting = [one.queue for one in counts if one.groups.get(GroupState.READY) and not one.paused]
        return f"it takes no message, though some are ready in {', '.join(waiting)}" if waiting else ""


def _not_ready(records: list[ProcessRecord]) -> str:
    if not records:
        return "it has not said anything of itself in Redis"
    expected = max(record.siblings for record in records)
    if len(records) < expected:
        return f"{len(records)} of its {expected} processes have said something of themselves in Redis"
    states = sorted({record.state for record in records} - {ProcessState.READY})
    return f"it is {', '.join(states)}" if states else ""


def tail(program: Program, since: int) -> str:
    """The last lines of a program's log, of those written after ``since`` bytes."""
    try:
        with program.log.open("rb") as log:
            size = log.seek(0, 2)
            begin = since if since <= size else 0  # else it was rotated meanwhile
            log.seek(max(begin, size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])


def size(program: Program) -> int:
    """Bytes of a program's log."""
    try:
        return program.log.stat().st_size
    except OSError:
        return 0

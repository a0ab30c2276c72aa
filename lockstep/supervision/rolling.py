"""Restarts what runs, one process at a time, and only as long as each becomes ready.

A process is asked to stop, which drains it; when it has ended it is started, and then it must become ready, and work
if there is work, before the next one is touched. At the first that does not, the reload stops: that one is stopped,
the others serve on. The only ready worker or scheduler is not stopped before a substitute is ready.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import dramatiq.cli

from lockstep.errors import RedisUnavailable, SupervisorRefused
from lockstep.settings import Settings
from lockstep.supervision.control import DOWN, Control, Program, ProgramState
from lockstep.supervision.readiness import LOOK_SECONDS, Readiness, size, tail
from lockstep.supervision.substitutes import Substitutes

#: In this order: who works before who takes work; the listener tells of what goes wrong until the end.
ORDER: Final = ("worker", "scheduler", "web", "listener")
#: Seconds that a process may take to stop beyond what its settings give it.
_MARGIN: Final = 15.0
#: Seconds after its time to drain until a worker kills what is stuck, and a web process leaves what is in work.
_OWN_LIMIT: Final = {"worker": 15.0, "web": 10.0}
_RELEASED: Final = re.compile(r'\breleased"?[=:] ?(\d+)')


@dataclass(slots=True)
class Step:
    """What became of one process."""

    process: str
    instance: str = ""
    version_before: str = ""  #: empty: it did not run, or did not say
    version: str = ""
    drain_seconds: float | None = None  #: None: it did not run
    released: int | None = None  #: messages that it gave back; None: its log does not say
    killed: bool = False
    ready_seconds: float | None = None  #: None: it is not ready
    problem: str = ""
    log_tail: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of a reload."""

    steps: list[Step] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  #: processes that were not touched
    interrupted: bool = False

    @property
    def failed(self) -> Step | None:
        """The process at which it stopped."""
        return next((step for step in self.steps if step.problem), None)


class Rolling:
    """One reload."""

    def __init__(
        self,
        control: Control,
        readiness: Readiness,
        substitutes: Substitutes,
        settings: Settings,
        *,
        asked: Callable[[], bool],
    ) -> None:
        """``asked`` answers whether somebody wants it to end: it does after the process that it is at."""
        self._control = control
        self._readiness = readiness
        self._substitutes = substitutes
        self._settings = settings
        self._asked = asked

    def run(self, programs: Sequence[Program], tell: Callable[[Step], None]) -> Outcome:
        """Reload these, and call ``tell`` with each step when it is over.

        Raises:
          SupervisorAway: supervisord does not answer any more; what it was at may be stopped.
        """
        outcome = Outcome(left=[program.name for program in programs])
        for program in programs:
            if self._asked():
                outcome.interrupted = True
                break
            step = Step(program.name)
            outcome.steps.append(step)
            outcome.left.remove(program.name)
            self._reload(program, step)
            tell(step)
            if step.problem:
                break
        return outcome

    def _reload(self, program: Program, step: Step) -> None:
        program = self._control.program(program.address)  # it may have ended since it was listed
        try:
            before = self._readiness.records_of(program)
            step.problem, step.log_tail = self._substitutes.start_for(program)
        except RedisUnavailable as error:
            step.problem = f"it was left as it is, since Redis does not answer: {error}"
            return
        step.version_before = _join(record.version for record in before)
        step.instance = _join(record.instance for record in before)
        if not step.problem:
            self._restart(program, step)
        elif problem := self._substitutes.retire(program.type, self._is_down):
            step.problem += f"; {problem}"

    def _restart(self, program: Program, step: Step) -> None:
        # The reload dies from here on: the process is stopped, until another reload starts it.
        if program.state not in DOWN:
            step.problem = self._stop(program, step)
        if not step.problem:
            self._start(program, step)
        if not step.problem:
            step.problem = self._substitutes.retire(program.type, self._is_down)
        elif substitute := self._substitutes.of(program.type):
            step.problem += f"; {substitute.name} works until a reload succeeds"

    def _stop(self, program: Program, step: Step) -> str:
        since, begun = size(program), time.monotonic()
        running = program.state is not ProgramState.BACKOFF
        if not self._is_down(program):
            return f"it does not stop: {self._limit(program):.0f} s were not enough"
        if running:
            now = self._control.program(program.address)
            step.drain_seconds = round(time.monotonic() - begun, 3)
            step.killed = _killed(now)
            step.released = _released(program, since) if program.type == "worker" else None
        return ""

    def _is_down(self, program: Program) -> bool:
        """Ask it to stop, and answer whether it does in its time."""
        self._control.stop(program.address)
        deadline = time.monotonic() + self._limit(program)
        while self._control.program(program.address).state not in DOWN:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _start(self, program: Program, step: Step) -> None:
        since, begun = size(program), time.monotonic()
        try:
            self._control.start(program.address)
            started = self._control.program(program.address)
            problem = self._readiness.wait(started)
        except SupervisorRefused as error:  # there is no such command in this release, say
            problem = str(error)
        if problem:
            # Or supervisord starts it again and again, and who knows what it does when it gets so far.
            step.log_tail = tail(program, since)
            down = self._is_down(program)
            step.problem = problem if down else f"{problem}; it was told to stop, and has not yet"
            return
        step.ready_seconds = round(time.monotonic() - begun, 3)
        if program.type == "listener":
            return
        try:
            after = self._readiness.records_of(started)
        except RedisUnavailable:
            return  # it was ready a moment ago
        step.version = _join(record.version for record in after)
        step.instance = _join(record.instance for record in after)

    def _limit(self, program: Program) -> float:
        drain = {
            "worker": self._settings.worker_shutdown_timeout,
            "web": self._settings.web_drain_seconds,
        }.get(program.type, 0.0)
        return drain + _OWN_LIMIT.get(program.type, 0.0) + _MARGIN


def in_order(programs: Iterable[Program], kinds: Iterable[str], leave: set[str]) -> list[Program]:
    """Those of some types that a reload takes, in its order; ``leave`` are the names that it leaves alone.

    Substitutes are not among them: they end with the reload of what they stand in for.
    """
    wanted = set(kinds)
    taken = [one for one in programs if one.type in wanted and one.name not in leave and not one.substitute]
    return sorted(taken, key=lambda program: (ORDER.index(program.type), program.number))


def _killed(ended: Program) -> bool:
    """Whether it was killed, or a worker's master says that one of its processes was."""
    return ended.exit_code == -1 or (ended.type == "worker" and ended.exit_code == dramatiq.cli.RET_KILLED)


def _released(program: Program, since: int) -> int | None:
    """What the processes of a worker say in their last lines; None: LOG_LEVEL keeps these out."""
    found = [
        int(count[1])
        for line in _text(program.log, since).splitlines()
        if "worker.stopped" in line and (count := _RELEASED.search(line))
    ]
    return sum(found) if found else None


def _text(log: Path, since: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _join(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))

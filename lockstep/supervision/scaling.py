"""More or fewer workers on this machine, while all others run on."""

import time
from dataclasses import dataclass, field
from typing import Final

from lockstep.settings import Settings
from lockstep.supervision.control import DOWN, LIVE, Control, Program
from lockstep.supervision.place import Place
from lockstep.supervision.readiness import LOOK_SECONDS, Readiness, size, tail
from lockstep.supervision.slots import remove_slot, set_stopped, stopped, write_slot

#: Group of the workers that are configured.
_CONFIGURED: Final = "worker"
#: Seconds beyond WORKER_SHUTDOWN_TIMEOUT until a worker must have ended.
_MARGIN: Final = 30.0


@dataclass(slots=True)
class Scaled:
    """What was done."""

    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    problem: str = ""  #: why it is not so many; empty: it is
    log_tail: str = ""


class Scaling:
    """Brings the number of workers to what is wanted."""

    def __init__(self, control: Control, readiness: Readiness, place: Place, settings: Settings) -> None:
        self._control = control
        self._readiness = readiness
        self._place = place
        self._settings = settings

    def to(self, count: int) -> Scaled:
        """Start what is missing below ``count``, and stop what is beyond it. If it dies half way, do it again."""
        programs = self._control.programs()
        workers = {one.number: one for one in programs if one.type == "worker" and not one.substitute}
        done = Scaled()
        for number in range(count):
            if number not in workers or workers[number].state in DOWN:
                self._start(number, workers.get(number), done)
                if done.problem:
                    return done
        self._stop([one for number, one in sorted(workers.items()) if number >= count], done)
        return done

    def _start(self, number: int, known: Program | None, done: Scaled) -> None:
        if known is None:
            name = write_slot(self._place, number)
            self._control.add(name)  # and it starts
            address = f"{name}:{name}"
        else:
            address = known.address
            if known.group != _CONFIGURED:  # it did not stop in time when its file was removed
                write_slot(self._place, number)
            set_stopped(self._place, stopped(self._place) - {known.name})
        since = size(known) if known else 0
        self._control.start(address)
        program = self._control.program(address)
        problem = self._readiness.wait(program)
        if problem:
            done.problem, done.log_tail = f"{program.name}: {problem}", tail(program, since)
            self._stop([program], Scaled())
            return
        done.started.append(program.name)

    def _stop(self, workers: list[Program], done: Scaled) -> None:
        """All at once: each drains for itself."""
        names = {one.name for one in workers if one.group == _CONFIGURED}
        set_stopped(self._place, stopped(self._place) | names)
        for worker in workers:
            if worker.group != _CONFIGURED:
                # Removed first: whatever happens then, it does not come back with the next supervisord.
                remove_slot(self._place, worker.number)
            self._control.stop(worker.address)
        deadline = time.monotonic() + self._settings.worker_shutdown_timeout + _MARGIN
        for worker in workers:
            while self._control.program(worker.address).state not in DOWN:
                if time.monotonic() >= deadline:
                    done.problem = done.problem or f"{worker.name} does not stop"
                    return
                time.sleep(LOOK_SECONDS)
            if worker.group != _CONFIGURED:
                self._control.remove(worker.group)
            if worker.state in LIVE:
                done.stopped.append(worker.name)

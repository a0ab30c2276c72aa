"""A background service: something with an interval and a ``run_once``, and the thread that calls it."""

import threading
from collections.abc import Callable
from typing import Protocol

from lockstep import logs

log = logs.get_logger("lockstep.service")

#: Exit code of a process whose service died: something is wrong with it, start another.
EXIT_BROKEN = 70


class Periodic(Protocol):
    """What a service runs."""

    @property
    def interval(self) -> float:
        """Seconds between two runs."""

    def run_once(self) -> object:
        """Do the work once; raise nothing that is expected to pass."""


class Service(threading.Thread):
    """Calls ``run_once`` at its interval until it is stopped, and ``on_death`` if that raises."""

    def __init__(self, name: str, work: Periodic, on_death: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._on_death = on_death
        self._stopped = False
        self._bell = threading.Event()

    def stop(self) -> None:
        """End the loop."""
        self._stopped = True
        self._bell.set()

    def wake(self) -> None:
        """Run now, whatever the interval."""
        self._bell.set()

    def run(self) -> None:
        """The loop."""
        try:
            while self._wait():
                self._work.run_once()
        except Exception:
            log.critical("service.died", service=self.name, exc_info=True)
            self._on_death()

    def _wait(self) -> bool:
        """Return when it is time; answers whether to go on."""
        self._bell.wait(self._work.interval)
        self._bell.clear()  # before the look at what was asked: what is asked from here on rings again
        return not self._stopped

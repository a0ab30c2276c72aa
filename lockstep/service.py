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
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the loop."""
        self._stopped.set()

    def run(self) -> None:
        """The loop."""
        try:
            while not self._stopped.wait(self._work.interval):
                self._work.run_once()
        except Exception:
            log.critical("service.died", service=self.name, exc_info=True)
            self._on_death()

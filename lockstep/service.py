"""A background service: something with an interval and a ``run_once``, and the thread that calls it."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from lockstep.ending import EXIT_BROKEN
from lockstep.failures import SECONDS, TIMES, Failures

__all__ = ["EXIT_BROKEN", "Periodic", "Service", "keep_trying"]

#: Seconds until the loop goes on whose own handling of a failure failed, as when memory is used up.
_REST_SECONDS = 1.0


class Periodic(Protocol):
    """What a service runs."""

    @property
    def interval(self) -> float:
        """Seconds between two runs."""

    def run_once(self) -> object:
        """Do the work once; raise nothing that is expected to pass."""


class Service(threading.Thread):
    """Calls ``run_once`` at its interval until it is stopped.

    The thread never ends by itself. A run that raises anything at all is logged and tried again; ``on_death`` is called
    with the reason when that happened too often (see ``Failures``), and normally ends the process.
    """

    def __init__(
        self,
        name: str,
        work: Periodic,
        on_death: Callable[[str], object],
        *,
        times: int = TIMES,
        seconds: float = SECONDS,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._on_death = on_death
        self._failures = Failures("service.failed", times=times, seconds=seconds, service=name)
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
        while not self._stopped:
            try:
                while self._wait():
                    self._work.run_once()
                    self._failures.clear()
            except BaseException as error:  # also SystemExit, which would end a thread without a word
                self._note(error)

    def _note(self, error: BaseException) -> None:
        kind = type(error).__name__
        try:
            self._failures.note()
            if self._failures.hopeless:
                times = self._failures.count
                self._on_death(f"the service {self.name} failed {times} times in a row, at last with {kind}")
        except BaseException:  # not even that is possible, as when memory is used up
            self._on_death(f"the service {self.name} failed: {kind}")
            time.sleep(_REST_SECONDS)

    def _wait(self) -> bool:
        """Return when it is time; answers whether to go on."""
        self._bell.wait(max(self._work.interval, self._failures.pause))
        self._bell.clear()  # before the look at what was asked: what is asked from here on rings again
        return not self._stopped


class Until:
    """Work for a service that is done once: ``attempt`` is called until it returns true."""

    def __init__(self, attempt: Callable[[], bool], interval: float) -> None:
        self.interval = interval
        self._attempt = attempt
        self.service: Service | None = None

    def run_once(self) -> None:
        """Try; end the service when it is done."""
        if self._attempt() and self.service is not None:
            self.service.stop()


def keep_trying(
    name: str, attempt: Callable[[], bool], seconds: float, on_death: Callable[[str], object]
) -> Service:
    """Start a thread that calls ``attempt`` every ``seconds`` until it returns true."""
    work = Until(attempt, seconds)
    work.service = service = Service(name, work, on_death)
    service.start()
    return service

"""One worker as it is deployed: a ``dramatiq`` master with a child, which signals can hit."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lockstep.parent import dies_with_me
from tests.history.events import Kind, read
from tests.support import steps
from tests.support.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
THREADS = 4


class Worker:
    """A running worker, in a session of its own."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], module: str, number: int, threads: int
    ) -> None:
        self.log = directory / f"worker-{number}.log"
        self._history = steps.history_of(directory)
        self._before = self._history.stat().st_size  # its boot comes later: a long history is not read again
        command = [sys.executable, "-m", "dramatiq", module, "-p", "1", "-t", str(threads), "--skip-logging"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment, steps.DIRECTORY: str(directory)},
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dies_with_me() if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        self.child = 0

    @property
    def master(self) -> int:
        """Process id of the master; its process group has the same."""
        return self.process.pid

    @property
    def pids(self) -> tuple[int, int]:
        """Master and child."""
        return self.master, self.child

    def wait_ready(self) -> None:
        """Return when the child takes messages."""
        self.child = wait_for(f"a worker is ready:\n{self.text()}", self._booted)

    def _booted(self) -> int:
        assert self.process.poll() is None, self.text()
        boots = [event for event in read(self._history, self._before) if event.event is Kind.BOOT]
        return next((event.pid for event in boots if event.pids[0] == self.master), 0)

    def signal(self, signum: int, *pids: int) -> None:
        """Signal the given processes of this worker that still live."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def wait_gone(self, timeout: float = PATIENCE) -> int:
        """Return the exit code of the master when it and its child are gone."""
        wait_for("the child is gone", lambda: not alive(self.child), timeout)
        return self.process.wait(timeout)

    def text(self) -> str:
        """What the worker wrote."""
        return self.log.read_text(errors="replace")

    def clear(self) -> None:
        """End whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.master, signal.SIGKILL)
        self.process.wait(PATIENCE)


def alive(pid: int) -> bool:
    """Whether a process runs: it exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

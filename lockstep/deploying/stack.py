"""What runs in a home under its supervisord, as a deploy sees it."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final

from lockstep.deploying.home import Home
from lockstep.deploying.running import environment_of
from lockstep.errors import DeployFailed, RedisUnavailable, SupervisorAway
from lockstep.processes import ProcessState, ProcessType
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.supervision.control import Control, ProgramState
from lockstep.supervision.place import Place
from lockstep.supervision.slots import changing

#: Seconds until all processes must be ready at the first start.
_READY_SECONDS: Final = 120.0

_LOOK_SECONDS: Final = 0.2


class Stack:
    """The processes of a home. The working directory must be the home: settings and paths count from there."""

    def __init__(self, home: Home, tell: Callable[[str], None]) -> None:
        self._home = home
        self._tell = tell
        self._started: subprocess.Popen[bytes] | None = None

    def runs(self) -> bool:
        """Whether a supervisord answers here."""
        return self._control().alive()

    def check_idle(self) -> None:
        """Return when nobody starts and stops processes here, as the reload of a deploy that was killed may still do.

        Raises:
          AlreadyRunning: somebody does.
        """
        with changing(Place.of(Settings.load())):
            return

    def start(self, release: str) -> str:
        """Start supervisord, which outlives this process, and wait until everything is ready; answers what is.

        Raises:
          DeployFailed: something does not become ready, or ends.
        """
        settings = Settings.load()
        directory = Place.of(settings).directory
        directory.mkdir(parents=True, exist_ok=True)
        scripts = (
            self._home.link / ".venv" / "bin"
        )  # of the release that is current whenever something is started
        with (directory / "supervisor.out").open("ab") as output:
            self._started = subprocess.Popen(  # noqa: S603
                [scripts / "lockstep", "supervisor"],
                cwd=self._home.root,
                env=environment_of(scripts),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # what ends this terminal does not end it
            )
        self._tell(f"supervisord runs as process {self._started.pid}; it writes to {output.name}")
        return self._wait_until_ready(settings, release)

    def check_versions(self, release: str) -> str:
        """See that every process under this supervisord says that it is of a release; answers how many do.

        Raises:
          DeployFailed: some are of another, or say nothing. A supervisord that was started with RELEASE says the
            same for all releases.
        """
        with closing(Store.connect(Settings.load())) as store:
            kinds = {kind.value for kind in ProcessType}
            programs = {
                one.pid: one.name for one in self._control().programs() if one.pid and one.type in kinds
            }
            here = socket.gethostname()
            found = [
                one for one in store.processes.listing() if one.host == here and one.master_pid in programs
            ]
        silent = sorted(set(programs.values()) - {programs[one.master_pid] for one in found})
        if silent:  # Redis may have forgotten them all: that is no proof of a release
            raise DeployFailed(f"not known to run on {release}, since they say nothing: {', '.join(silent)}")
        others = sorted({f"{one.instance} is of {one.version}" for one in found if one.version != release})
        if others:
            raise DeployFailed(f"not everything runs on {release}: {', '.join(others)}")
        return f"{len(found)} processes run on {release}"

    def stop(self) -> None:
        """Stop the supervisord that ``start`` started, and all that runs under it; nothing if it did not."""
        if self._started is not None:
            self._started.terminate()
            self._tell("stopping what was started")
            self._started.wait()

    def _wait_until_ready(self, settings: Settings, release: str) -> str:
        wanted = {
            ProcessType.WEB: settings.web_processes,
            ProcessType.WORKER: settings.worker_masters,
            ProcessType.SCHEDULER: settings.scheduler_processes,
        }
        deadline = time.monotonic() + _READY_SECONDS
        with closing(Store.connect(settings)) as store:
            while True:
                ready = self._ready(store, release)
                told = ", ".join(f"{kind} {ready.get(kind, 0)}/{number}" for kind, number in wanted.items())
                if all(ready.get(kind, 0) >= number for kind, number in wanted.items()):
                    return told
                self._check_alive(told)
                if time.monotonic() > deadline:
                    raise DeployFailed(f"not ready in {_READY_SECONDS:.0f} seconds: {told}", self._tails())
                time.sleep(_LOOK_SECONDS)

    def _ready(self, store: Store, release: str) -> dict[ProcessType, int]:
        """How many of each type are ready here: those that supervisord keeps, however many processes each has."""
        masters: dict[ProcessType, set[int]] = {}
        with suppress(RedisUnavailable):  # for a moment
            for one in store.processes.listing():
                ours = (one.host, one.version, one.state) == (
                    socket.gethostname(),
                    release,
                    ProcessState.READY,
                )
                if ours:
                    masters.setdefault(one.type, set()).add(one.master_pid)
        return {kind: len(pids) for kind, pids in masters.items()}

    def _check_alive(self, told: str) -> None:
        assert self._started is not None
        if self._started.poll() is not None:
            raise DeployFailed(f"supervisord ended with {self._started.returncode}", self._tails())
        with suppress(SupervisorAway):  # it is starting
            given_up = [one.name for one in self._control().programs() if one.state is ProgramState.FATAL]
            if given_up:
                raise DeployFailed(
                    f"{', '.join(given_up)} ends each time it is started ({told})", self._tails()
                )

    def _tails(self) -> str:
        """The last lines of every log."""
        directory = Place.of(Settings.load()).directory
        tails = []
        for path in sorted((*directory.glob("*.log"), directory / "supervisor.out")):
            with suppress(OSError):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
                tails += [f"{path.name}: {line}" for line in lines]
        return "\n".join(tails)

    def _control(self) -> Control:
        return Control(Place.of(Settings.load()))

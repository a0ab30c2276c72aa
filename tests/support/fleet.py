"""Processes as a platform starts them: the console script, settings in the environment, an output to read."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from lockstep.parent import dies_with_me
from tests.support.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def inherited() -> dict[str, str]:
    """What a process needs of this one's environment, and no setting."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {
        **environment,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


class Program:
    """One running program in a session of its own; its output is kept."""

    def __init__(self, *command: str, directory: Path, environment: Mapping[str, str], name: str) -> None:
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={**inherited(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dies_with_me() if sys.platform == "linux" else None,  # noqa: PLW1509
            )

    @property
    def text(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    def wait_told(self, words: str, timeout: float = PATIENCE) -> None:
        """Return when it wrote ``words``; fails when it ends before."""

        def told() -> bool:
            assert words in self.text or self.process.poll() is None, self.text
            return words in self.text

        wait_for(f"{words!r} in {self.log}", told, timeout)

    def members(self) -> list[int]:
        """Itself and its live descendants, and whoever is in its session or that of a descendant."""
        alive: dict[int, tuple[int, int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    alive[int(entry.name)] = int(fields[1]), int(fields[3])
        found = {self.process.pid}
        while more := {p for p, (parent, session) in alive.items() if {parent, session} & found} - found:
            found |= more
        return sorted(found & set(alive))

    def clear(self) -> None:
        """End whatever is left of it."""
        for pid in self.members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


class Fleet:
    """Processes of several types over one Redis."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory, self.environment = directory, environment
        self.programs: list[Program] = []
        self.port = 0

    def start(self, *command: str, **environment: str) -> Program:
        """Start ``lockstep COMMAND``."""
        program = Program(
            str(SCRIPTS / "lockstep"),
            *command,
            directory=self.directory,
            environment={**self.environment, **environment},
            name=f"{command[0]}-{len(self.programs)}",
        )
        self.programs.append(program)
        return program

    def start_web(self, **environment: str) -> Program:
        """Start a web process on a free port, and wait until it is ready."""
        self.port = free_port()
        program = self.start("web", PORT=str(self.port), **environment)
        wait_for(f"web is ready:\n{program.text}", lambda: ready(self.url))
        return program

    @property
    def url(self) -> str:
        """Address of the web process that was started last."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End every process."""
        for program in self.programs:
            program.clear()


def ready(url: str) -> bool:
    """Whether a web process serves there, and has its Redis."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

"""A real supervisord with web, workers and schedulers, as `lockstep supervisor` runs it, and what one does to it."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.supervision.control import Control, Program, ProgramState
from lockstep.supervision.place import Place
from tests.support.posting import post_message
from tests.support.waiting import LONG_COMMAND, PATIENCE, wait_for

#: How long something may take on a machine that has much else to do.
SCRIPTS = sysconfig.get_path("scripts")


class Supervised:
    """`lockstep supervisor` in a directory; what it writes is in ``log``."""

    def __init__(self, settings: Settings, directory: Path, **changes: str) -> None:
        self.directory, self.log = directory, directory / "log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
            "REDIS_URL": settings.redis_url or "",
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "PORT": str(self.port),
            "WEB_DRAIN_SECONDS": "0",
            **changes,
        }
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [self._script, "supervisor"],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def _script(self) -> Path:
        current = self.directory / "current" / ".venv" / "bin" / "lockstep"
        return current if current.exists() else Path(SCRIPTS) / "lockstep"

    def end(self) -> int:
        """Ask it to stop; its exit code when it has."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)

    def clear(self) -> None:
        """End whatever is left of it."""
        for pid in self.relatives():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(PATIENCE)

    def relatives(self) -> list[int]:
        """Live processes that work in its directory."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink() == self.directory:
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile, or is a zombie
                continue
        return found

    @property
    def data(self) -> Path:
        return self.directory / "data" / "supervisor"

    @property
    def control(self) -> Control:
        place = Place(self.data, Path("supervisor/supervisord.conf").absolute(), Path(SCRIPTS))
        return Control(place)

    def programs(self, kind: str = "") -> list[Program]:
        """What supervisord keeps, and its process ids."""
        return [program for program in self.control.programs() if kind in {"", program.type}]

    def pids(self) -> dict[str, int]:
        return {program.name: program.pid for program in self.programs()}

    def wait_up(self, store: Store) -> None:
        """Return when web, workers and schedulers work."""
        wait_for(f"web: {self.text()}", self.ready)
        wait_for("all programs run", lambda: all(p.state in LIVE for p in self.programs()))
        store.declare("messages")  # known from its first message on, and there is none
        masters = len([p for p in self.programs("worker") if p.state in LIVE])
        wait_for("workers", lambda: len(store.counts("messages").claimers) >= masters)
        if self.programs("scheduler"):
            wait_for("a scheduler", lambda: store.schedules.listing().schedulers)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def text(self, program: str = "") -> str:
        """What supervisord, or a program, wrote."""
        file = self.data / f"{program}.log" if program else self.log
        return file.read_text(errors="replace") if file.exists() else ""

    def run(self, *command: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """A command of `lockstep`, in its directory and environment."""
        return subprocess.run(
            [self._script, *command],
            cwd=self.directory,
            env={**self.environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG_COMMAND,
            check=False,
        )

    def send(self, message: Mapping[str, Any]) -> str:
        """Send a message over HTTP; its id."""
        return post_message(partial(httpx.post, trust_env=False, timeout=PATIENCE), self.url, message)


LIVE = {ProgramState.STARTING, ProgramState.RUNNING}


def parsed(result: "subprocess.CompletedProcess[str]") -> Any:
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port

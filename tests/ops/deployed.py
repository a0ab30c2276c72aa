"""A real home to deploy to: its sources, the commands of an operator, whoever hears of it, and clients of its web."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx

from lockstep.deploying.source import Source
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.waiting import LONG_COMMAND, PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))


class Receiver(HTTPServer):
    """Takes notices."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.titles.append(body["title"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Deployment:
    """A home, sources to deploy to it, and the commands of an operator."""

    def __init__(self, directory: Path, redis_url: str, receiver: Receiver) -> None:
        self.home, self.sources = directory / "home", directory / "sources"
        self.home.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.namespace = f"deploy-{self.port}"
        self.settings = {"REDIS_URL": redis_url, "QUEUE_NAMESPACE": self.namespace}
        lines = {
            **self.settings,
            "PORT": str(self.port),
            "WEB_DRAIN_SECONDS": "0",
            # Each takes seconds to drain and to start; two web processes are what serves on.
            "WORKER_MASTERS": "1",
            "SCHEDULER_PROCESSES": "1",
            "READY_TIMEOUT": "300",
            "DEPLOY_NOTIFY_DSN": f"json://127.0.0.1:{receiver.server_port}",
        }
        (self.home / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self.store = Store.connect(Settings.load(self.settings, env_file=""))

    def source(self, name: str, *, whole: bool = False) -> Path:
        """A copy of this tree; unless ``whole``, its release borrows the packages of this environment."""
        path = self.sources / name
        Source.of(ROOT).copy(path)
        if not whole:
            borrowed = f"import sys\nsys.path.append({sysconfig.get_path('purelib')!r})\n"
            first = path / "lockstep" / "__init__.py"
            first.write_text(first.read_text() + borrowed)
        return path

    def command(self, *arguments: str, whole: bool = False) -> "subprocess.Popen[str]":
        inherited = {
            name: value for name, value in os.environ.items() if name != "PIP_NO_DEPS" and "REDIS" not in name
        }
        return subprocess.Popen(
            [SCRIPTS / "lockstep", *arguments, "--home", self.home],
            env=inherited if whole else {**inherited, "PIP_NO_DEPS": "1"},
            cwd=self.sources.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, whole: bool = False) -> tuple[int, str]:
        """A command's exit code and all that it says."""
        process = self.command(*arguments, whole=whole)
        told, _ = process.communicate(timeout=LONG_COMMAND)
        return process.returncode, told

    def die_in(self, step: str, *arguments: str) -> None:
        """Kill a command when it begins a step, and wait until what it had started has ended as well."""
        process = self.command(*arguments)
        assert process.stdout is not None
        assert any(line.startswith(step) for line in process.stdout), "it ended before"
        process.kill()
        process.communicate()
        wait_for("its reload has ended", lambda: not self.reloads())

    def reloads(self) -> list[int]:
        return [pid for pid in self.pids() if b"reload" in command_of(pid).split(b"\0")]

    def current(self) -> str:
        return (self.home / "current").readlink().name

    def versions(self) -> set[str]:
        """The releases of the processes that were heard of within the last seconds."""
        return {one.version for one in self.store.processes.listing() if alive(one.pid)}

    def releases(self) -> dict[str, Any]:
        code, told = self.run("releases", "--json")
        assert code == 0, told
        return {one["name"]: one for one in json.loads(told)["items"]}

    def pids(self) -> list[int]:
        """Live processes that work in the home."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink() == self.home:
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile, or is a zombie
                continue
        return found

    def clear(self) -> None:
        """End whatever is left."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.store.close()


class Clients:
    """Asks the web process all the time, on a new connection each time."""

    def __init__(self, url: str) -> None:
        self.asked, self.failed = 0, []
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Clients":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.asked += 1
            try:
                httpx.get(f"{self._url}/livez", trust_env=False, timeout=PATIENCE).raise_for_status()
            except httpx.HTTPError as error:
                self.failed.append(repr(error))


@contextmanager
def deployed(redis_url: str) -> Iterator[tuple[Deployment, Receiver]]:
    """An empty home, and what hears of its deploys; whatever is left of it is ended."""
    # Not as deep as pytest's own: the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory, Receiver() as receiver:
        deployment = Deployment(Path(directory).resolve(), redis_url, receiver)
        try:
            yield deployment, receiver
        finally:
            deployment.clear()
            receiver.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cwd").exists()

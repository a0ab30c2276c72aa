"""Releases of a real home: real installs, a real supervisord, deploys that end well, badly and half way."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockstep.deploying.source import Source
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
LONG = 90.0
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
            "READY_TIMEOUT": "30",
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
        told, _ = process.communicate(timeout=240)
        return process.returncode, told

    def die_in(self, step: str, *arguments: str) -> None:
        """Kill a command when it begins a step, and wait until what it had started has ended as well."""
        process = self.command(*arguments)
        assert process.stdout is not None
        assert any(line.startswith(step) for line in process.stdout), "it ended before"
        process.kill()
        process.communicate()
        wait_for("its reload has ended", lambda: not self.reloads(), LONG)

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
                httpx.get(f"{self._url}/livez", trust_env=False, timeout=30).raise_for_status()
            except httpx.HTTPError as error:
                self.failed.append(repr(error))


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        receiver.shutdown()


@pytest.fixture
def deployment(redis_url: str, receiver: Receiver) -> Iterator[Deployment]:
    # Not as deep as pytest's own: the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory:
        deployment = Deployment(Path(directory).resolve(), redis_url, receiver)
        yield deployment
        deployment.clear()


def test_releases_come_and_go_while_the_web_serves_on(deployment: Deployment, receiver: Receiver) -> None:
    # The first: everything is installed, and supervisord started.
    code, told = deployment.run(
        "deploy", str(deployment.source("one", whole=True)), "--release", "one", "--start", whole=True
    )
    assert code == 0, told
    assert (deployment.current(), deployment.versions()) == ("one", {"one"})
    assert httpx.get(f"{deployment.url}/readyz", trust_env=False).status_code == 200

    with Clients(deployment.url) as clients:
        # The second: its deploy dies once it is installed, then in the middle of the reload, and is said again.
        second = str(deployment.source("two"))
        deployment.die_in("migrate", "deploy", second, "--release", "two")
        assert (deployment.current(), deployment.versions()) == ("one", {"one"})
        deployment.die_in("reload", "deploy", second, "--release", "two")
        assert deployment.current() == "two"
        assert "one" in deployment.versions()
        code, told = deployment.run("deploy", second, "--release", "two")
        assert code == 0, told
        assert "going on with it as it is installed" in told
        assert (deployment.current(), deployment.versions()) == ("two", {"two"})

        # The third does not become ready: it goes back by itself.
        broken = deployment.source("three")
        server = broken / "web" / "server.py"
        server.write_text(
            server.read_text().replace('    """Serve until', '    return 1\n    """Serve until', 1)
        )
        code, told = deployment.run("deploy", str(broken), "--release", "three")
        assert code == 3, told
        assert "two is current again, and everything runs on it" in told
        assert (deployment.current(), deployment.versions()) == ("two", {"two"})

        # Back to the first, by hand.
        code, told = deployment.run("rollback", "--to", "one")
        assert code == 0, told
        assert (deployment.current(), deployment.versions()) == ("one", {"one"})

    assert (clients.failed, clients.asked > 100) == ([], True)
    releases = deployment.releases()
    assert {name for name, one in releases.items() if one["current"]} == {"one"}
    assert {name for name, one in releases.items() if one["former"]} == {"two"}
    assert not releases["three"]["proven"]
    assert receiver.titles == [
        *("lockstep: deploy of one started", "lockstep: deploy of one done"),
        *("lockstep: deploy of two started",) * 3,
        "lockstep: deploy of two done",
        *("lockstep: deploy of three started", "lockstep: deploy of three rolled back"),
        *("lockstep: rollback to one started", "lockstep: rollback to one done"),
    ]


def test_what_fails_before_the_switch_leaves_nothing(deployment: Deployment) -> None:
    environment = (deployment.home / ".env").read_text()
    with (deployment.home / ".env").open("a") as settings:
        settings.write("REDIS_URL=redis://127.0.0.1:1\nDEPLOY_NOTIFY_DSN=json://127.0.0.1:1\n")
    source = deployment.source("one")

    code, told = deployment.run("deploy", str(source), "--release", "one", "--start")

    assert code == 1, told
    assert "`lockstep setup` of one ended with 4" in told
    assert "the notice was not taken" in told
    assert not (deployment.home / "current").is_symlink()
    assert list((deployment.home / "releases").iterdir()) == []

    # Its release has no supervisord of its own, so nothing starts.
    (deployment.home / ".env").write_text(environment)
    code, told = deployment.run("deploy", str(source), "--release", "one", "--start")
    assert code == 3, told
    assert "supervisord ended with" in told
    assert "no release is current, as before; what was started is stopped" in told
    assert not (deployment.home / "current").is_symlink()
    assert deployment.pids() == []
    assert set(deployment.releases()) == {"one"}

    (source / "setup.cfg").write_text("[metadata]\nname = lockstep\nversion = none\n")
    code, told = deployment.run("deploy", str(source), "--release", "one")
    assert code == 1, told
    assert list((deployment.home / "releases").iterdir()) == []


def test_one_at_a_time(deployment: Deployment) -> None:
    (deployment.home / "releases").mkdir()
    with (deployment.home / "deploy.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (("deploy", str(ROOT)), ("rollback", "--to", "one")):
            code, told = deployment.run(*command)
            assert (code, "another deploy or rollback runs" in told) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("deploy", "/"), 2, "/ is no source tree of Lockstep"),
        (("deploy", str(ROOT), "--release", "../one"), 2, "expected a name"),
        (("rollback",), 2, "has no releases"),
    ],
)
def test_what_cannot_be_is_refused(
    deployment: Deployment, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, told = deployment.run(*arguments)

    assert (ended, said in told) == (code, True), told
    assert "Traceback" not in told
    assert [path.name for path in deployment.home.iterdir()] == [".env"]


def test_a_rollback_needs_a_release(deployment: Deployment) -> None:
    (deployment.home / "releases").mkdir()
    for arguments, code, said in (
        (("rollback",), 2, "there is no former release"),
        (("rollback", "--to", "none"), 1, "no release 'none'"),
    ):
        ended, told = deployment.run(*arguments)
        assert (ended, said in told) == (code, True), told


def test_a_source_tree_is_no_home() -> None:
    ended = subprocess.run(
        [SCRIPTS / "lockstep", "deploy"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, "name the directory of the deployment" in ended.stderr) == (2, True)
    assert not (ROOT / "releases").exists()


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

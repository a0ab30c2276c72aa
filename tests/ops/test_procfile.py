"""The Procfile, under honcho and as a platform runs it: PORT is given, every process is told to stop twice."""

import os
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockstep.cli.commands import make_app
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.support.fleet import SCRIPTS, Program, free_port, ready
from tests.support.posting import post_message
from tests.support.waiting import PATIENCE, wait_for
from tests.support.worker import alive

PROCFILE = Path("Procfile").absolute()
COMMANDS = dict(re.findall(r"^(\w+): (.+)$", PROCFILE.read_text(), re.MULTILINE))
NAMES = ("web", "worker", "scheduler")
KEY = "a-key-of-the-platform"
TOLD = 30.0  #: seconds that a platform waits before it kills

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


class Platform:
    """Runs lines of the Procfile over one Redis, each with the environment that platforms give."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.directory = directory
        self.lines = directory / "lines"
        self.programs: list[Program] = []
        self.http = httpx.Client(
            headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=PATIENCE
        )
        self.environment = {
            "REDIS_URL": settings.redis_url or "",
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "API_KEYS": f"app:enqueue+read:{KEY}",
            "ACTOR_MODULES": "tests.support.outcome_actors",
            "LOG_FORMAT": "json",
        }

    def run(self, *command: str, **environment: str) -> Program:
        """Start a program."""
        program = Program(
            *command,
            directory=self.directory,
            environment={**self.environment, **environment},
            name=f"program-{len(self.programs)}",
        )
        self.programs.append(program)
        return program

    def generation(self, release: str, port: int) -> list[Program]:
        """Start one of each process type, as one release, and wait until all are ready."""
        started = [
            self.run(
                "sh",
                "-c",
                f"exec {COMMANDS[name]}",
                DYNO=f"{name}.{release}",
                PORT=str(port),
                RELEASE=release,
            )
            for name in NAMES
        ]
        wait_for("web is ready", lambda: ready(f"http://127.0.0.1:{port}"))
        for program, words in zip(started[1:], ("worker.ready", "scheduler.started"), strict=True):
            program.wait_told(words)
        return started

    def send(self, port: int, group: str, number: int, seconds: float = 0.0) -> str:
        """Send one message over HTTP; its id."""
        kwargs = {"group": group, "number": number, "file": str(self.lines), "seconds": seconds}
        return post_message(self.http.post, f"http://127.0.0.1:{port}", {"actor": "writes", "kwargs": kwargs})

    def written(self) -> dict[str, list[int]]:
        """Numbers by group, in the order in which their messages ended."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for line in self.lines.read_text().splitlines() if self.lines.exists() else ():
            group, number = line.split()
            found[group].append(int(number))
        return found

    def close(self) -> None:
        """End every process."""
        self.http.close()
        for program in self.programs:
            program.clear()


@pytest.fixture
def platform(settings: Settings, tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path, settings)
    yield platform
    platform.close()


def tell_all_twice(programs: Iterable[Program]) -> list[int]:
    """SIGTERM to every process, directly, and again, as platforms do; who was told."""
    pids = [pid for program in programs for pid in program.members()]
    for _ in range(2):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    return pids


def wait_gone(pids: list[int], since: float) -> None:
    wait_for("all are gone", lambda: not any(map(alive, pids)), since + TOLD - time.monotonic())


def metrics(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=PATIENCE).text


def test_honcho_runs_all_of_it(platform: Platform) -> None:
    port = free_port()
    honcho = platform.run(
        *(str(SCRIPTS / "honcho"), "-f", str(PROCFILE), "-d", str(platform.directory), "start"),
        PORT=str(port),
    )
    wait_for("web is ready", lambda: ready(f"http://127.0.0.1:{port}"))
    for number in range(3):
        platform.send(port, "g", number)
    wait_for("they are done", lambda: platform.written()["g"] == [0, 1, 2])
    wait_for("a scheduler", lambda: "scheduler.started" in honcho.text)
    # Nobody can reach the worker: web speaks for it.
    attempts = 'lockstep_attempts_total{actor="writes",outcome="done",queue="messages"} 3.0'
    wait_for("its attempts are told", lambda: attempts in metrics(port))
    one_worker = r'^lockstep_workers{role="\w+",state="ready",version="[^"]+"} 1\.0$'
    wait_for("it is counted", lambda: re.search(one_worker, metrics(port), re.MULTILINE))

    platform.send(port, "g", 3, seconds=1.0)
    wait_for("it runs", lambda: running(platform) == 1)
    told = time.monotonic()
    wait_gone(tell_all_twice([honcho]), told)

    assert platform.written()["g"] == [0, 1, 2, 3]
    # Each stopped in order; its shell, which was told as well, has no say in that.
    assert sorted(re.findall(r'"event": "(\w+)\.stopped"', honcho.text)) == sorted(NAMES)
    assert "SIGKILL" not in honcho.text


def running(platform: Platform) -> int:
    store = Store.connect(Settings.load(platform.environment, env_file=""))
    try:
        return store.counts("messages").messages[MessageState.RUNNING]
    finally:
        store.close()


def test_generations_overlap_and_nothing_is_lost(platform: Platform, store: Store) -> None:
    port, next_port = free_port(), free_port()
    platform.environment["WORKER_SHUTDOWN_TIMEOUT"] = "2s"
    assert platform.run("sh", "-c", COMMANDS["release"]).process.wait(PATIENCE) == 0
    former = platform.generation("v1", port)
    groups = [f"g{number}" for number in range(5)]
    for number in range(15):
        for group in groups:
            platform.send(port, group, number, seconds=0.05)
    # One that will still run when its worker must have ended, and one behind it.
    platform.send(port, "long", 0, seconds=3600)
    platform.send(port, "long", 1)

    latter = platform.generation("v2", next_port)
    both = {(f"{name}.{release}", release) for name in NAMES for release in ("v1", "v2")}
    wait_for(
        "both are known", lambda: {(r.instance, r.version) for r in store.processes.listing()} == both, 30
    )
    wait_for("the long one runs", lambda: holder(store))
    told = time.monotonic()
    pids = tell_all_twice(former)
    for number in range(15, 30):
        for group in groups:
            platform.send(next_port, group, number, seconds=0.05)
    wait_gone(pids, told)

    assert [program.process.wait(PATIENCE) for program in former] == [0, 0, 0]
    wait_for("all are done", lambda: all(len(platform.written()[g]) == 30 for g in groups))
    assert {group: platform.written()[group] for group in groups} == {g: list(range(30)) for g in groups}
    # The long one is at its place again, or runs with the new worker: nothing behind it started.
    assert platform.written()["long"] == []
    assert store.groups.show("messages", "long").depth == 2
    told = time.monotonic()
    wait_gone(tell_all_twice(latter), told)
    assert [program.process.wait(PATIENCE) for program in latter] == [0, 0, 0]
    assert store.processes.listing() == []
    assert store.counts("messages").messages[MessageState.RUNNING] == 0
    assert store.groups.show("messages", "long").depth == 2


def holder(store: Store) -> Any:
    return store.groups.show("messages", "long").holder


def test_the_procfile_names_what_is_there() -> None:
    known = {command.name for command in make_app().registered_commands}

    assert set(COMMANDS) == {*NAMES, "release"}
    # honcho counts its ports up from PORT, line by line: web must be the first.
    assert next(iter(COMMANDS)) == "web"
    assert {command.partition(" ")[2] for command in COMMANDS.values()} <= known
    assert PROCFILE.read_text() in Path("docs/platforms.md").read_text()
    # For runners that end everything when `release` ends.
    assert Path("Procfile.local").read_text() == PROCFILE.read_text().replace("release: lockstep setup\n", "")

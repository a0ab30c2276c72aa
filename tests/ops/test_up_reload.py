"""A reload under ``lockstep up``, which runs one worker and one scheduler: there is never none that is ready.

The tests share one `up` and run in their order.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockstep.embedded import running_url
from lockstep.processes import ProcessState
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.supervision.control import Control, Program
from lockstep.supervision.place import Place
from tests.ops.supervised import parsed
from tests.ops.test_up import FAILS_LATER, Up, free_port
from tests.ops.traffic import ACTOR, Runs, Traffic
from tests.support.posting import post_message
from tests.support.waiting import LONG_COMMAND, PATIENCE, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

COMMAND = [sys.executable, "-c", "from lockstep.cli import main; main()"]


class Fleet:
    """A `lockstep up` with one worker, and the commands that are typed next to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "numbered.py").write_text(ACTOR + FAILS_LATER)
        self.environment = {"ACTOR_MODULES": "numbered", "WEB_DRAIN_SECONDS": "2", "READY_TIMEOUT": "300"}
        self.port = free_port()
        self.up = Up(directory, self.port, **self.environment)
        self.up.wait_until_told()
        settings = Settings.load({"REDIS_URL": running_url(str(directory / "data")) or ""}, env_file="")
        self.store = Store.connect(settings)
        place = Place(directory / "data" / "supervisor", Path("supervisord.conf"), Path("bin"))
        self.control = Control(place)

    def popen(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*COMMAND, *command],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        process = self.popen(*command)
        out, err = process.communicate(timeout=LONG_COMMAND)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def programs(self) -> dict[str, Program]:
        return {one.name: one for one in self.control.programs()}

    def pids(self) -> dict[str, int]:
        return {name: one.pid for name, one in self.programs().items()}

    def send(self) -> str:
        body = {"actor": "number", "kwargs": {"group": "beside", "n": 1, "sent": time.time()}}
        return post_message(partial(httpx.post, timeout=PATIENCE), self.up.url, body)

    def works(self) -> None:
        message_id = self.send()
        wait_for("a message is done", lambda: self.store.message(message_id).state == "done")

    def ready(self) -> set[str]:
        """The types of process of which one is ready."""
        return {str(one.type) for one in self.store.processes.listing() if one.state is ProcessState.READY}

    @contextmanager
    def always_ready(self, *kinds: str) -> Iterator[None]:
        """Fail unless one process of each of these types was ready at every look."""
        missing: list[str] = []
        looks = 0
        ended = threading.Event()

        def look() -> None:
            nonlocal looks
            while not ended.wait(0.02):
                looks += 1
                missing.extend(set(kinds) - self.ready())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert looks > 10
        assert missing == []

    def clear(self) -> None:
        self.store.close()
        if self.up.process.poll() is None:
            self.up.process.kill()
            self.up.process.wait()
        for pid in self.up.relatives():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory:
        fleet = Fleet(Path(directory).resolve())
        wait_for("all run", lambda: len(fleet.ready()) == 3 and all(fleet.pids().values()))
        yield fleet
        fleet.clear()


def test_no_request_fails_and_a_worker_and_a_scheduler_are_always_ready(fleet: Fleet) -> None:
    before = fleet.pids()
    with Traffic(fleet.port) as traffic:
        wait_for("traffic", lambda: traffic.tally.answers > 20)
        with fleet.always_ready("web", "worker", "scheduler"):
            view = parsed(fleet.run("reload", "--json"))
        steps: list[dict[str, Any]] = view["items"]
        assert [step["process"] for step in steps] == [
            "worker-0",
            "scheduler-0",
            "web-0",
            "web-1",
            "listener",
        ]
        assert not any(step["killed"] or step["problem"] for step in steps), view

    assert traffic.tally.failures == []
    after = fleet.pids()
    assert after.keys() == before.keys()  # no substitute is left
    assert not any(after[name] == before[name] for name in before)
    total = sum(traffic.tally.sent.values())
    wait_for("all is done", lambda: Runs.read(fleet.directory / "runs").total >= total)
    numbers = Runs.read(fleet.directory / "runs").numbers
    assert numbers == {group: list(range(1, count + 1)) for group, count in traffic.tally.sent.items()}


@pytest.mark.parametrize("kind", ["worker", "scheduler"])
def test_a_release_that_does_not_start_leaves_everything_running(fleet: Fleet, kind: str) -> None:
    before = fleet.pids()
    (fleet.directory / "broken").touch()
    try:
        with fleet.always_ready("web", "worker", "scheduler"):
            failed = fleet.run("reload", kind, "--json")
    finally:
        (fleet.directory / "broken").unlink()

    assert failed.returncode == 3, failed.stdout + failed.stderr
    assert f"stopped at {kind}-0: its substitute does not start, so it still runs" in failed.stderr
    assert "broken since" in failed.stderr
    assert fleet.pids() == before, fleet.up.output
    fleet.works()


def test_a_reload_that_is_killed_leaves_a_worker_and_the_next_one_ends_its_substitute(fleet: Fleet) -> None:
    before = fleet.pids()
    reload = fleet.popen("reload", "worker")
    wait_for("worker-0 stops", lambda: fleet.pids()["worker-0"] != before["worker-0"])
    reload.kill()
    reload.communicate()

    with fleet.always_ready("worker"):
        fleet.works()
        assert "worker-substitute" in fleet.pids()
        parsed(fleet.run("scale", "worker", "1", "--json"))  # counts workers, not substitutes
        parsed(fleet.run("reload", "worker", "--json"))

    assert fleet.pids().keys() == before.keys()
    assert not list((fleet.directory / "data" / "supervisor" / "conf.d").glob("*-substitute.conf"))


def test_ctrl_c_ends_everything(fleet: Fleet) -> None:
    assert fleet.up.stop(signal.SIGINT) == 0, fleet.up.output
    assert fleet.up.relatives() == []

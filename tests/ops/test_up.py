"""``lockstep up`` as a person runs it: a real process with real children."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.broken import broken_later
from tests.support.posting import post_message
from tests.support.waiting import PATIENCE

#: Seconds; no message would be done in time if it waited for a lease.
LONG_LEASE = str(round(2 * PATIENCE))
MESSAGE = {
    "actor": "messages.deliver",
    "kwargs": {"instance_id": "instance-123", "customer_id": "customer-456", "body": "hello"},
}


class Up:
    """One ``lockstep up`` on a data directory."""

    def __init__(self, directory: Path, port: int, *options: str, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = directory / "up.log"
        self.directory = directory
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from lockstep.cli import main; main()",
                    "up",
                    "--port",
                    str(port),
                    "--workers",
                    "1",
                    *options,
                ],
                cwd=directory,
                env={**inherited, "WEB_DRAIN_SECONDS": "0", **environment},
                stdout=log,
                stderr=log,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_told(self) -> None:
        wait_for(
            lambda: "Ctrl-C stops everything" in self.output or self.process.poll() is not None, self.log
        )
        assert self.process.poll() is None, self.output

    def stop(self, signum: int) -> int:
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)

    def pid_of(self, program: str) -> int:
        """The process that supervisord started last for the first of ``program``."""
        log = (self.directory / "data" / "supervisord.log").read_text()
        return int(re.findall(rf"spawned: '{program}-0' with pid (\d+)", log)[-1])

    def relatives(self) -> list[int]:
        """Live processes that work in its directory, whoever their parent is now."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                where = (entry / "cwd").readlink()
            except OSError:  # it ended meanwhile, or is a zombie
                continue
            if where == self.directory or self.directory in where.parents:
                found.append(int(entry.name))
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts ``lockstep up``; whatever is left of it is killed after the test."""
    started: list[Up] = []

    def start(port: int | None = None, *options: str, **environment: str) -> Up:
        started.append(Up(tmp_path, port or free_port(), *options, **environment))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait()
        for pid in up.relatives():
            os.kill(pid, signal.SIGKILL)


post = partial(httpx.post, timeout=PATIENCE)


def state_of(up: Up, message_id: str) -> str | None:
    """The state of a message; None while Redis does not answer."""
    state: str | None = (
        httpx.get(f"{up.url}/api/v1/messages/{message_id}", timeout=PATIENCE).json().get("state")
    )
    return state


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@linux
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_message_is_done_and_nothing_is_left_running(start: Callable[..., Up], signum: int) -> None:
    up = start()
    up.wait_until_told()
    assert len(up.relatives()) >= 6  # itself, Redis, supervisord, web, worker, scheduler
    message_id = post_message(post, up.url, MESSAGE)

    wait_for(lambda: state_of(up, message_id) == "done", up.log)
    assert up.stop(signum) == 0, up.output
    assert up.relatives() == []
    assert Path(os.devnull).is_char_device()  # supervisord deletes its pid file


@linux
def test_data_are_kept_and_work_goes_on_at_once(start: Callable[..., Up]) -> None:
    first = start(LEASE_SECONDS=LONG_LEASE)
    first.wait_until_told()
    message_id = post_message(post, first.url, {**MESSAGE, "delay_ms": 1000})
    assert first.stop(signal.SIGINT) == 0

    second = start(LEASE_SECONDS=LONG_LEASE)
    second.wait_until_told()

    # Below the hold-off of LEASE_SECONDS that a Redis which may have forgotten leases would need.
    wait_for(lambda: state_of(second, message_id) == "done", second.log)
    assert second.stop(signal.SIGINT) == 0


@linux
def test_killed_leaves_nothing(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_told()

    up.process.kill()
    up.process.wait()

    wait_for(lambda: up.relatives() == [], up.log)


@linux
def test_impatience_changes_nothing(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_told()

    for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        up.process.send_signal(signum)

    assert up.process.wait(PATIENCE) == 0
    assert "worker.stopped" in up.output
    assert up.relatives() == []


@linux
def test_a_killed_supervisord_leaves_nothing(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_told()

    os.kill(int((up.directory / "data" / "supervisord.pid").read_text()), signal.SIGKILL)

    assert up.process.wait(PATIENCE) == 1
    assert "supervisord ended" in up.output
    wait_for(lambda: up.relatives() == [], up.log)


@linux
def test_the_demo_sends_messages_that_are_done(start: Callable[..., Up]) -> None:
    up = start(None, "--demo")
    up.wait_until_told()

    def totals() -> dict[str, int]:
        (queue,) = httpx.get(f"{up.url}/api/v1/queues", timeout=PATIENCE).json()["items"]
        return dict(queue["totals"]["attempts"])

    wait_for(lambda: totals()["done"] >= 3, up.log)
    wait_for(lambda: totals()["dead"] >= 1, up.log)
    assert up.stop(signal.SIGINT) == 0, up.output
    assert up.relatives() == []


@linux
def test_ends_when_its_redis_ends(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_told()
    address = json.loads((up.directory / "data" / "redis.json").read_text())

    os.kill(address["pid"], signal.SIGKILL)

    assert up.process.wait(PATIENCE) == 1
    assert "Redis ended" in up.output
    assert up.relatives() == []


@linux
@pytest.mark.parametrize("failing", ["import nosuch", "raise ValueError('no module is named nosuch')"])
def test_a_module_that_cannot_be_imported_is_told_at_once(
    start: Callable[..., Up], tmp_path: Path, failing: str
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "broken.py").write_text(f"\n{failing}\n")

    up = start(ACTOR_MODULES="app.broken")

    assert up.process.wait(PATIENCE) == 3
    assert "(ACTOR_MODULES: app.broken)" in up.output
    assert "app/broken.py, line 2: " in up.output
    assert "nosuch" in up.output.splitlines()[-1]
    assert "Traceback" not in up.output
    assert up.relatives() == []


# Web and workers that are started from now on fail, as with a library that was updated under them.
FAILS_LATER = """
import os, pathlib
if "SUPERVISOR_ENABLED" in os.environ and pathlib.Path("broken").exists():
    raise RuntimeError("broken since")
"""


@linux
def test_a_program_that_was_given_up_ends_it(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start(**broken_later(tmp_path))
    up.wait_until_told()
    (tmp_path / "broken").touch()

    os.kill(up.pid_of("web"), signal.SIGKILL)

    assert up.process.wait(PATIENCE) == 1
    assert "web-0 ended: terminated by SIGKILL" in up.output
    assert "supervisord gave up on web-0" in up.output
    assert "data/supervisord.log" in up.output
    assert "RuntimeError: broken since" in up.output
    assert "worker.stopped" in up.output  # it was drained
    assert up.relatives() == []


@linux
def test_programs_that_never_start_end_it(start: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "broken").touch()

    up = start(**broken_later(tmp_path))

    assert up.process.wait(PATIENCE) == 3
    assert "supervisord gave up on " in up.output
    assert "did not start in" not in up.output  # READY_SECONDS are not waited for
    assert up.relatives() == []


@linux
def test_a_killed_worker_is_told_and_runs_again(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_told()
    first = up.pid_of("worker")

    os.kill(first, signal.SIGKILL)

    wait_for(lambda: "worker-0 ended: terminated by SIGKILL" in up.output, up.log)
    wait_for(lambda: up.pid_of("worker") not in {0, first}, up.log)
    assert up.stop(signal.SIGINT) == 0, up.output
    assert up.relatives() == []


@linux
def test_start_and_stop_are_told_once(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_told()
    assert up.stop(signal.SIGINT) == 0

    for line in ("Starting.", "worker.started", "worker.ready", "worker.draining"):
        assert up.output.count(line) == 1, up.output
    for line in ("scheduler.started", "scheduler.stopped"):
        assert up.output.count(line) == 1, up.output
    for line in ("worker.stopped", "Stopping", "Stopped."):
        assert up.output.count(line) == 1, up.output
    for line in ("web.started", "web.stopped"):
        assert up.output.count(line) == 2, up.output
    for noise in ("Supervisor is running as root", "SIGTERM", "event loop", "has been shut down"):
        assert noise not in up.output


def test_a_taken_port_is_told(start: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        up = start(port=taken.getsockname()[1])

        assert up.process.wait(PATIENCE) == 3
    assert "choose another with --port" in up.output


def test_wrong_settings_are_told(start: Callable[..., Up]) -> None:
    up = start(LEASE_SECONDS="soon", MAX_CRASHES="0")

    assert up.process.wait(PATIENCE) == 2
    assert "LEASE_SECONDS" in up.output
    assert "MAX_CRASHES" in up.output


def wait_for(condition: Callable[[], bool], log: Path, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port

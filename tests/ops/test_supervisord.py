"""The configuration of supervisord: what would do harm if it were wrong, and that it runs without `lockstep up`."""

import configparser
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from lockstep.errors import InvalidSettings
from lockstep.settings import Settings
from lockstep.store import Store
from tests.ops.supervised import Supervised, parsed
from tests.support.freezing import freeze
from tests.support.waiting import PATIENCE, wait_for

PATH = Path("supervisor/supervisord.conf")
UNIT = Path("supervisor/lockstep.service")
PROGRAMS = ("fcgi-program:web", "program:worker", "program:scheduler", "eventlistener:listener")

Start = Callable[..., Supervised]


@pytest.fixture
def config() -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    config.read_string(PATH.read_text())
    return config


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Starts `lockstep supervisor`; whatever is left of it is killed after the test."""
    started: list[Supervised] = []

    def start(**changes: str) -> Supervised:
        started.append(Supervised(settings, tmp_path, **changes))
        return started[-1]

    yield start
    for one in started:
        one.clear()


def test_the_pid_file_is_no_device(config: configparser.RawConfigParser) -> None:
    # supervisord deletes it when it ends: run as root, it would delete the device.
    assert not config["supervisord"]["pidfile"].startswith("/dev/")


def test_devices_are_never_rotated(config: configparser.RawConfigParser) -> None:
    for section in config.values():
        for name, value in section.items():
            if name.endswith("logfile") and value.startswith("/dev/"):
                assert section[f"{name}_maxbytes"] == "0"


def test_a_worker_may_drain_before_it_is_killed(config: configparser.RawConfigParser) -> None:
    worker = config["program:worker"]

    # It cannot read the setting, so it waits longer than any that is allowed: the worker ends itself.
    with pytest.raises(InvalidSettings):
        Settings.load({"WORKER_SHUTDOWN_TIMEOUT": str(int(worker["stopwaitsecs"]) - 20)}, env_file="")


def test_a_web_process_may_drain_before_it_is_killed(config: configparser.RawConfigParser) -> None:
    web = config["fcgi-program:web"]

    with pytest.raises(InvalidSettings):
        Settings.load({"WEB_DRAIN_SECONDS": str(int(web["stopwaitsecs"]) - 15)}, env_file="")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_asked_once_and_killed_with_its_children(
    config: configparser.RawConfigParser, program: str
) -> None:
    section = config[program]

    assert (section["stopsignal"], section["stopasgroup"], section["killasgroup"]) == (
        "TERM",
        "false",
        "true",
    )


@pytest.mark.parametrize("path", [PATH, UNIT], ids=["supervisord", "systemd"])
def test_every_option_is_explained(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line]
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith((";", "#")):
            assert before.startswith((";", "#")), line


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / "lockstep.service"
    # Programs are looked up: one that is here, as its user is.
    text = (
        UNIT.read_text()
        .replace("/opt/lockstep/.venv/bin/lockstep", "/bin/true")
        .replace("User=lockstep", "User=root")
    )
    unit.write_text(text)
    try:
        result = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        pytest.skip("no systemd here")

    told = [line for line in result.stderr.splitlines() if "lockstep.service" in line]
    assert (result.returncode, told) == (0, []), result.stderr


def test_it_runs_all_twice_until_it_is_told_to_stop(start: Start, store: Store, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WORKER_MASTERS=2\nWEB_PROCESSES=3\n")
    all_ = start(INSTANCE_ID="here")
    all_.wait_up(store)

    assert sorted(all_.pids()) == [
        "listener",
        *("scheduler-0", "scheduler-1", "web-0", "web-1", "web-2", "worker-0", "worker-1"),
    ]
    for name in ("scheduler-1", "web-2", "worker-1"):
        wait_for(name, lambda name=name: f"instance=here-{name}" in all_.text(name), PATIENCE)  # type: ignore[misc]
    second = all_.run("supervisor")
    assert (second.returncode, "runs already" in second.stderr) == (5, True), second.stderr
    beside = all_.run("up")
    assert (beside.returncode, "runs already" in beside.stderr) == (3, True), beside.stderr

    assert all_.end() == 0, all_.text()
    assert "worker.stopped" in all_.text("worker-0")
    assert store.counts("messages").claimers == {}  # the workers left in order
    assert store.schedules.listing().schedulers == {}  # and so did the schedulers
    assert not all_.ready()
    assert all_.relatives() == []


def test_web_processes_share_the_port(start: Start, store: Store) -> None:
    all_ = start(WORKER_MASTERS="0", SCHEDULER_PROCESSES="0", WEB_PROCESSES="2")
    wait_for("web", all_.ready)
    wait_for("both", lambda: all("web.started" in all_.text(f"web-{n}") for n in (0, 1)))

    first, second = (program.pid for program in all_.programs("web"))
    freeze(first)  # one of them accepts nothing
    try:
        with httpx.Client(base_url=all_.url, trust_env=False, timeout=PATIENCE) as http:
            assert {http.get("/livez").status_code for _ in range(5)} == {200}
            answer = http.get("/livez")
    finally:
        os.kill(first, signal.SIGCONT)

    assert answer.status_code == 200
    # Standard input of a web process is the null device: nobody reads the socket by accident.
    assert Path(f"/proc/{second}/fd/0").readlink() == Path(os.devnull)


def test_an_address_that_supervisord_cannot_hold_is_told(start: Start, store: Store) -> None:
    all_ = start(HOST="::1")

    assert all_.process.wait(PATIENCE) == 2
    assert "HOST: supervisord cannot listen on ::1" in all_.text()


def test_a_directory_too_deep_for_a_socket_is_told(start: Start, tmp_path: Path) -> None:
    all_ = start(DATA_DIR="deep/" * 20 + "data")

    assert all_.process.wait(PATIENCE) == 2
    assert "too long for a socket" in all_.text()


# Its thread keeps the interpreter for minutes: the process hears no signal.
STUCK = """
import dramatiq, pathlib, re

@dramatiq.actor(actor_name="stuck", queue_name="messages")
def stuck():
    pathlib.Path("stuck").touch()
    re.match("(a+)+$", "a" * 40 + "b")
"""


@pytest.mark.parametrize("asked", ["stop", "reload"])
def test_a_stuck_worker_is_killed_soon_after_its_time_to_drain(
    start: Start, tmp_path: Path, asked: str
) -> None:
    (tmp_path / "stuck_actors.py").write_text(STUCK)
    changes = {"ACTOR_MODULES": "stuck_actors", "WORKER_MASTERS": "1", "SCHEDULER_PROCESSES": "1"}
    if asked == "stop":
        changes["WORKER_SHUTDOWN_TIMEOUT"] = "500ms"
    else:
        (tmp_path / ".env").write_text("WORKER_SHUTDOWN_TIMEOUT=500ms\n")
    all_ = start(**changes)
    wait_for("web", all_.ready)
    # Stuck before its master knows that it started, it would keep the master waiting for that.
    wait_for("the worker", lambda: "worker.ready" in all_.text("worker-0"))
    all_.send({"actor": "stuck"})
    wait_for("the actor is stuck", (tmp_path / "stuck").exists)
    began = time.monotonic()

    if asked == "stop":
        assert all_.end() == 0, all_.text()
        seconds = time.monotonic() - began
    else:
        (step,) = parsed(all_.run("reload", "worker", "--json", READY_TIMEOUT="300s"))["items"]
        assert (step["killed"], step["released"], step["problem"]) == (True, None, "")
        seconds = step["drain_seconds"]
        assert all_.end() == 0, all_.text()

    assert 15 < seconds < 60  # not at once, and not when supervisord itself would kill it
    assert "worker.overdue" in all_.text("worker-0")

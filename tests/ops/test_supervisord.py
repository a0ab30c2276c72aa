"""The configuration of supervisord: what would do harm if it were wrong, and that it runs without `lockstep up`."""

import configparser
import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from lockstep.errors import InvalidSettings
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.waiting import wait_for

PATH = Path("supervisor/supervisord.conf")


@pytest.fixture
def config() -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    config.read_string(PATH.read_text())
    return config


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
    assert (worker["stopsignal"], worker["stopasgroup"], worker["killasgroup"]) == ("TERM", "false", "true")


def test_every_option_is_explained() -> None:
    lines = [line for line in PATH.read_text().splitlines() if line]
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith(";"):
            assert before.startswith(";"), line


@contextmanager
def supervisord(settings: Settings, directory: Path, **changes: str) -> Iterator[Path]:
    """supervisord without `lockstep up`, until it is told to stop; what it writes is in the file."""
    assert settings.redis_url is not None
    scripts = sysconfig.get_path("scripts")
    environment = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "WEB_DRAIN_SECONDS": "0",
        **changes,
    }
    log = directory / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [f"{scripts}/supervisord", "-n", "-c", PATH.absolute(), "-j", directory / "pid"],
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield log
    finally:
        process.terminate()
        code = process.wait(60)
    assert code == 0, log.read_text()


def test_it_runs_web_worker_and_scheduler_until_it_is_told_to_stop(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    port = free_port()
    with supervisord(settings, tmp_path, PORT=str(port)) as log:
        wait_for("web", lambda: ready(port), 30)
        store.declare("messages")  # known from its first message on, and there is none
        wait_for("a worker", lambda: store.counts("messages").claimers, 30)
        wait_for("a scheduler", lambda: store.schedules.listing().schedulers, 30)

    assert "worker.stopped" in log.read_text()
    assert store.counts("messages").claimers == {}  # the worker left in order
    assert store.schedules.listing().schedulers == {}  # and so did the scheduler
    assert not ready(port)


# Its thread keeps the interpreter for minutes: the process hears no signal.
STUCK = """
import dramatiq, pathlib, re

@dramatiq.actor(actor_name="stuck", queue_name="messages")
def stuck():
    pathlib.Path("stuck").touch()
    re.match("(a+)+$", "a" * 40 + "b")
"""


@pytest.mark.parametrize("given", ["environment", "file"])
def test_a_stuck_worker_is_killed_soon_after_its_time_to_drain(
    settings: Settings, tmp_path: Path, given: str
) -> None:
    (tmp_path / "stuck_actors.py").write_text(STUCK)
    changes = {"PORT": str(port := free_port()), "ACTOR_MODULES": "stuck_actors"}
    if given == "environment":
        changes["WORKER_SHUTDOWN_TIMEOUT"] = "500ms"
    else:
        (tmp_path / ".env").write_text("WORKER_SHUTDOWN_TIMEOUT=500ms\n")
    with supervisord(settings, tmp_path, **changes) as log:
        wait_for("web", lambda: ready(port), 30)
        # Stuck before its master knows that it started, it would keep the master waiting for that.
        wait_for("the worker", lambda: "worker.ready" in log.read_text(), 30)
        message = {"actor": "stuck"}
        answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/messages", json=message, trust_env=False)
        assert answer.status_code == 202, answer.text
        wait_for("the actor is stuck", (tmp_path / "stuck").exists, 30)
        asked = time.monotonic()

    assert 15 < time.monotonic() - asked < 30
    assert "worker.overdue" in log.read_text()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

"""The configuration of supervisord: what would do harm if it were wrong, and that it runs without `lockstep up`."""

import configparser
import os
import socket
import subprocess
import sysconfig
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

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

    assert int(worker["stopwaitsecs"]) > Settings.worker_shutdown_timeout + 5
    assert (worker["stopsignal"], worker["stopasgroup"], worker["killasgroup"]) == ("TERM", "false", "true")


def test_every_option_is_explained() -> None:
    lines = [line for line in PATH.read_text().splitlines() if line]
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith(";"):
            assert before.startswith(";"), line


def test_it_runs_web_and_worker_until_it_is_told_to_stop(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    assert settings.redis_url is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    scripts = sysconfig.get_path("scripts")
    environment = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "PORT": str(port),
    }
    log = tmp_path / "log"
    with log.open("ab") as output:
        supervisord = subprocess.Popen(
            [f"{scripts}/supervisord", "-n", "-c", PATH.absolute(), "-j", tmp_path / "pid"],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for("web", lambda: ready(port), 30)
        store.declare("messages")  # known from its first message on, and there is none
        wait_for("a worker", lambda: store.counts("messages").claimers, 30)
    finally:
        supervisord.terminate()
        code = supervisord.wait(60)

    assert code == 0, log.read_text()
    assert "worker.stopped" in log.read_text()
    assert store.counts("messages").claimers == {}  # the worker left in order
    assert not ready(port)


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

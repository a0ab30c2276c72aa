"""What would do harm if it were wrong in the configuration of supervisord."""

import configparser
from itertools import pairwise
from pathlib import Path

import pytest

from lockstep.settings import Settings

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

    assert worker.getint("stopwaitsecs") > Settings.worker_shutdown_timeout + 5
    assert (worker["stopsignal"], worker["stopasgroup"], worker["killasgroup"]) == ("TERM", "false", "true")


def test_every_option_is_explained() -> None:
    lines = [line for line in PATH.read_text().splitlines() if line]
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith(";"):
            assert before.startswith(";"), line

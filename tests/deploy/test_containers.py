"""Dockerfile and compose file: valid, and in keeping with how the processes stop."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from lockstep.cli.commands import make_app
from lockstep.cli.worker import _OVERDUE
from lockstep.settings import DOCUMENTED, Settings
from tests.support.fleet import SCRIPTS
from tests.support.waiting import PATIENCE
from web.server import GRACE_SECONDS

COMPOSE = yaml.safe_load(Path("deploy/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("lockstep:")}


def check(*command: str) -> None:
    done = subprocess.run(
        [SCRIPTS / command[0], *command[1:]], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_is_valid() -> None:
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_the_dockerfile_is_valid() -> None:
    check("hadolint", "deploy/Dockerfile")


def test_the_image_holds_every_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", Path("deploy/Dockerfile").read_text(), re.MULTILINE))
    let_in = set(re.findall(r"^!(\w+)$", Path("deploy/Dockerfile.dockerignore").read_text(), re.MULTILINE))
    packages = {
        str(path.parent)
        for path in Path().glob("*/__init__.py")
        if str(path.parent) not in {"benchmarks", "tests", "build"}
    }

    assert copied == packages | {"supervisor"}
    assert copied <= let_in


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_grace_is_above_the_drain() -> None:
    worker = SERVICES["worker"]
    timeout = Settings.load(
        {"WORKER_SHUTDOWN_TIMEOUT": worker["environment"]["WORKER_SHUTDOWN_TIMEOUT"]}, env_file=""
    ).worker_shutdown_timeout

    drain = Settings.load({}, env_file="").web_drain_seconds
    assert seconds(SERVICES["web"]["stop_grace_period"]) >= drain + GRACE_SECONDS + 5
    assert seconds(worker["stop_grace_period"]) >= timeout + _OVERDUE + 5


def test_every_service_that_stays_is_checked_and_starts_again() -> None:
    for name, one in SERVICES.items():
        if name != "setup":
            assert one["healthcheck"]["test"], name
            assert one["restart"] == "unless-stopped", name


def test_commands_and_settings_are_those_of_the_product() -> None:
    commands = {command.name for command in make_app().registered_commands}
    settings = {name for name, _, _ in DOCUMENTED}
    for name, one in OURS.items():
        assert one["command"][0] == "lockstep"
        assert one["command"][1] == name
        assert name in commands
        assert {setting.removesuffix("_FILE") for setting in one["environment"]} <= settings
        if name != "setup":
            assert one["healthcheck"]["test"] == ["CMD", "lockstep", "health", name]


def test_redis_keeps_everything() -> None:
    command = SERVICES["redis"]["command"]

    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert any(volume.endswith(":/data") for volume in SERVICES["redis"]["volumes"])


def test_secrets_and_volumes_are_declared_and_files_are_there() -> None:
    for one in SERVICES.values():
        assert set(one.get("secrets", [])) <= set(COMPOSE["secrets"])
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (Path("deploy") / source).exists(), volume

"""Commands with settings that cannot be used: exit 2 with the name of the setting, before anything is started."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.waiting import LONG_COMMAND

SECRET = "S3CRET"
#: Each loads its settings in a way of its own.
COMMANDS = ("web", "worker", "up", "setup", "listener")

Ended = subprocess.CompletedProcess[str]


@pytest.fixture
def lockstep(tmp_path: Path) -> Callable[..., Ended]:
    """Runs a command in an empty directory, without Redis."""

    def run(*arguments: str, **environment: str) -> Ended:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        ended = subprocess.run(
            [sys.executable, "-c", "from lockstep.cli import main; main()", *arguments],
            env={**inherited, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LONG_COMMAND,
            check=False,
        )
        for text in (ended.stdout, ended.stderr):
            assert "Traceback" not in text, text
            assert SECRET not in text, text
        return ended

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_settings_without_a_traceback(
    lockstep: Callable[..., Ended], tmp_path: Path, command: str
) -> None:
    (tmp_path / "empty").touch()
    ended = lockstep(
        command,
        REDIS_URL=f"redis://user:{SECRET}/ss@host?protocol=3",
        API_KEYS=f'"ops:admin:{SECRET}"',
        METRICS_TOKEN_FILE=str(tmp_path / "empty"),
        DELIVERY_SECRET_FILE=str(tmp_path / "nowhere"),
        INSTANCE_ID='a"b',
    )

    assert ended.returncode == 2, ended.stderr
    for name in ("REDIS_URL", "API_KEYS: ", "METRICS_TOKEN: ", "DELIVERY_SECRET: ", "INSTANCE_ID: "):
        assert name in ended.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["empty"]  # nothing was written


@pytest.mark.parametrize(("command", "encoding"), [("worker", "utf-16"), ("up", "cp1252")])
def test_dotenv_that_is_not_utf_8_is_named(
    lockstep: Callable[..., Ended], tmp_path: Path, command: str, encoding: str
) -> None:
    (tmp_path / ".env").write_bytes(f"METRICS_TOKEN={SECRET}\nINSTANCE_ID=café\n".encode(encoding))

    ended = lockstep(command)

    assert ended.returncode == 2, ended.stderr
    assert ".env: is not UTF-8" in ended.stderr


def test_a_secret_that_can_be_read_once_is_refused(tmp_path: Path) -> None:
    script = (
        f'METRICS_TOKEN_FILE=<(echo {SECRET}) exec "$0" -c "from lockstep.cli import main; main()" worker'
    )
    ended = subprocess.run(
        ["bash", "-c", script, sys.executable],
        env={"PATH": os.environ["PATH"], "REDIS_URL": "redis://127.0.0.1:1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONG_COMMAND,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert "METRICS_TOKEN: the file of METRICS_TOKEN_FILE is not a regular file" in ended.stderr


@pytest.mark.parametrize(
    ("command", "given", "name"),
    [
        ("up", {"DATA_DIR": "100%"}, "DATA_DIR"),
        ("supervisor", {"DATA_DIR": "100%", "REDIS_URL": "redis://127.0.0.1:1"}, "DATA_DIR"),
        ("up", {"INSTANCE_ID": 'say "hi"'}, "INSTANCE_ID"),
        ("up", {"HOST": "::1"}, "HOST"),
    ],
)
def test_up_refuses_what_supervisord_cannot_use_before_redis_starts(
    lockstep: Callable[..., Ended], tmp_path: Path, command: str, given: dict[str, str], name: str
) -> None:
    ended = lockstep(command, **given)

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert name in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_verify_reports_what_is_refused(lockstep: Callable[..., Ended]) -> None:
    ended = lockstep(
        "verify",
        "--production",
        API_KEYS=f"ops:admin: {SECRET}",
        REDIS_URL=f"rediss://u:{SECRET}@10.0.0.7?decode_responses=true",
    )

    assert ended.returncode == 1
    assert "failed   settings: REDIS_URL: option decode_responses" in ended.stdout
    assert "API_KEYS: " in ended.stdout


def test_verify_shows_no_password_of_a_server_that_does_not_answer(lockstep: Callable[..., Ended]) -> None:
    ended = lockstep(
        "verify", "--production", REDIS_URL=f"redis://u:{SECRET}@127.0.0.1:1", REDIS_TIMEOUT="0.5"
    )

    assert "failed   redis: Redis is not available" in ended.stdout

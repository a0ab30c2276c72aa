"""``lockstep setup``, and that a release which is too old for the data does not start."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from lockstep.embedded import EmbeddedRedis
from lockstep.schema import SCHEMA
from lockstep.selftest import self_test
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.waiting import PATIENCE, wait_for

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = [sys.executable, "-c", "from lockstep.cli import main; main()"]


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    assert settings.redis_url is not None
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**inherited, "REDIS_URL": settings.redis_url, "QUEUE_NAMESPACE": settings.queue_namespace}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**environment, **changes},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


def test_it_makes_what_is_missing_and_finds_it_the_second_time(
    run: Run, tmp_path: Path, store: Store, redis_url: str
) -> None:
    first = run("setup")
    again = json.loads(run("setup", "--json").stdout)

    assert first.returncode == 0, first.stderr
    assert [line.split(":")[0] for line in first.stdout.splitlines()] == [
        "done   directories",
        "done   schema",
        "found  self-test",
    ]
    assert [(step["step"], step["changed"]) for step in again["steps"]] == [
        ("directories", False),
        ("schema", False),
        ("self-test", False),
    ]
    assert stat.S_IMODE((tmp_path / "data" / "supervisor").stat().st_mode) == 0o700
    record = store.schema.read()
    assert record is not None
    assert record.number == SCHEMA
    assert left_in(redis_url, store.settings.queue_namespace) == [store.global_key("schema")]


def test_directories_that_others_may_write_to_are_closed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)

    assert "others may not write to data any more" in run("setup").stdout
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o755


def test_a_directory_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = run("setup", DATA_DIR="file/data")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "DATA_DIR: file/data cannot be used" in ended.stderr


def test_redis_away_and_wrong_settings(run: Run) -> None:
    assert run("setup", REDIS_URL="redis://127.0.0.1:1").returncode == 4
    assert run("setup", PORT="x").returncode == 2


def test_the_self_test_removes_what_a_killed_one_left(settings: Settings, redis_url: str) -> None:
    scratch = f"{settings.queue_namespace}.self-test"
    dead = Settings.load({"REDIS_URL": redis_url, "QUEUE_NAMESPACE": scratch}, env_file="")
    remnant = Store.connect(dead)
    remnant.declare("1700000000-dead")
    remnant.pause("1700000000-dead")  # some key of its shard
    remnant.close()
    assert len(left_in(redis_url, scratch)) > 1

    assert self_test(settings) > 0

    assert left_in(redis_url, scratch) == []


@pytest.mark.parametrize("name", ["web", "worker", "scheduler"])
def test_a_release_that_is_too_old_for_the_data_does_not_start(run: Run, store: Store, name: str) -> None:
    store.schema.migrate(SCHEMA + 1, SCHEMA + 1)

    ended = run(name, PORT="0")

    assert ended.returncode == 5
    assert f"need a release of schema {SCHEMA + 1} or later, this one has {SCHEMA}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert run("setup").returncode == 5


def test_a_worker_that_learns_it_when_redis_comes_back_claims_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    first, second = EmbeddedRedis(), EmbeddedRedis()
    url = first.start(tmp_path / "redis")
    newer = Store.connect(Settings.load({**environment, "REDIS_URL": url}, env_file=""))
    newer.schema.migrate(SCHEMA + 1, SCHEMA + 1)
    newer.close()
    first.stop()
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [*COMMAND, "worker"],
            env={**environment, "REDIS_URL": url, "LOG_FORMAT": "json"},
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for("the worker runs without Redis", lambda: b"worker.ready" in log.read_bytes())
        second.start(tmp_path / "redis", int(url.rpartition(":")[2].partition("/")[0]))
        assert worker.wait(PATIENCE) != 0
    finally:
        worker.kill()
        worker.wait()
        second.stop()
    assert b"schema.refused" in log.read_bytes()


def left_in(redis_url: str, namespace: str) -> list[str]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return sorted(client.scan_iter(f"{{{namespace}*"))

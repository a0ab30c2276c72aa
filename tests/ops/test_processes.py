"""Workers as they are deployed: what `lockstep health`, `workers` and `processes` say of them, and when they die."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockstep.processes import FORGET_SECONDS, ProcessRecord, ProcessState, ProcessType
from lockstep.reporting import identity
from lockstep.settings import Settings
from lockstep.store import Store
from tests.ops.test_commands import Run, command, environment, run  # noqa: F401  (fixtures)
from tests.support.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:  # noqa: F811
    """Starts a process type; whatever is left of it is killed after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, **changes: str) -> "subprocess.Popen[bytes]":
        given = {**environment, "ACTOR_MODULES": "tests.support.slow_actors", **changes}
        process = subprocess.Popen(command([name]), env=given, cwd=ROOT, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def listed(store: Store, state: ProcessState) -> list[ProcessRecord]:
    return [one for one in store.processes.listing() if one.state is state]


def test_a_worker_is_healthy_while_it_may_claim_and_forgotten_once_it_was_killed(
    run: Run,  # noqa: F811
    start: Start,
    store: Store,
    tmp_path: Path,
) -> None:
    ended = run("health", "worker")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "no worker of this machine has said that it runs" in ended.stderr
    worker = start("worker", WORKER_PROCESSES="2", WORKER_CONCURRENCY="3", RELEASE="v7")
    wait_for("both are ready", lambda: len(listed(store, ProcessState.READY)) == 2)
    assert (run("health").returncode, run("health", "worker").stdout) == (0, "2 ready\n")
    assert run("health", "web").returncode == 3
    arguments = ("send", "slow", "--args", json.dumps([str(tmp_path / "end")]))
    sent = run(*arguments, ACTOR_MODULES="tests.support.slow_actors", PYTHONPATH=str(ROOT))
    assert sent.returncode == 0, sent.stderr

    def shown() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(run("workers", "--json").stdout)["items"]
        assert {(one["version"], one["master_pid"], one["capacity"]) for one in items} == {
            ("v7", worker.pid, 3)
        }
        return items

    wait_for("it runs", lambda: sorted(one["busy"] for one in shown()) == [0, 1])
    (tmp_path / "end").touch()
    wait_for("it is done", lambda: sorted(one["done"] for one in shown()) == [0, 1])
    assert all(word in run("processes").stdout for word in ("worker", "v7", "ready", "MiB"))
    os.killpg(worker.pid, signal.SIGKILL)
    killed = time.monotonic()
    # They are silent for some seconds, which the command may miss on a busy machine, before they are forgotten.
    told = ("was not heard of", "no process of this machine has said that it runs")
    wait_for("they are no longer healthy", lambda: any(words in run("health").stderr for words in told))
    wait_for("they are forgotten", lambda: not store.processes.listing())
    # The last word came up to two seconds before the kill.
    assert time.monotonic() - killed > FORGET_SECONDS - 3
    assert run("workers", "--json").stdout == '{"items": []}\n'


def test_what_does_not_work_is_not_healthy(run: Run, start: Start, store: Store) -> None:  # noqa: F811
    typo = start("worker", WORKER_QUEUES="mesages")
    scheduler = start("scheduler")
    wait_for("the scheduler is ready", lambda: listed(store, ProcessState.READY))
    wait_for("the worker is known", lambda: listed(store, ProcessState.STARTING))
    assert run("health", "scheduler").returncode == 0
    ended = run("health", "--json")
    told = json.loads(ended.stdout)
    assert (ended.returncode, told["ready"], len(told["items"])) == (3, False, 2)
    assert told["reasons"] == [f"worker {listed(store, ProcessState.STARTING)[0].name} is starting"]
    for process in (typo, scheduler):
        process.send_signal(signal.SIGTERM)
    assert [process.wait(PATIENCE) for process in (typo, scheduler)] == [0, 0]
    assert store.processes.listing() == []  # both withdrew


def test_processes_of_other_machines_are_not_asked_about(run: Run, store: Store, settings: Settings) -> None:  # noqa: F811
    mine = identity(ProcessType.WEB, "mine", settings)
    other = replace(mine, name="other", host="elsewhere")
    store.processes.report(other)
    assert run("health").returncode == 3
    store.processes.report(replace(mine, state=ProcessState.READY))
    assert run("health").stdout == "1 ready\n"
    assert run("health", "oven").returncode == 2
    assert run("health", REDIS_URL="redis://127.0.0.1:1/0").returncode == 4

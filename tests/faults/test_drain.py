"""``lockstep drain`` beside worker processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lockstep.errors import IntakeOff
from lockstep.states import MessageState
from tests.history.checker import Outcome
from tests.support.fault_run import QUEUE, FaultRun
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.faults


def drain(run: FaultRun, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from lockstep.cli import main; main()", "drain", *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **run.environment, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_closed(run: FaultRun) -> None:
    wait_for("the intake is off", lambda: not run.store.intake.status().accept)


def test_a_drain_ends_when_all_that_was_accepted_has(run):
    run.start(2)
    for number in range(20):
        run.send(f"g{number % 4}", seconds=0.05, failures=number % 2)
    run.send_later("late", 2000)
    running = drain(run, "--queues", QUEUE, "--timeout", "80", "--json")
    wait_closed(run)
    with pytest.raises(IntakeOff):
        run.broker.submit(run.actor.message(group="g"))
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    assert json.loads(out) == {"drained": True, "accept": False, "left": {}, "groups": {}}
    assert '"queue.drained"' in err
    assert run.unfinished() == 0
    again = drain(run, "--resume")
    assert (again.communicate(timeout=PATIENCE)[0], again.returncode) == ("drained\n", 0)
    assert run.store.intake.status().accept
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict


def test_a_drain_that_takes_too_long_tells_what_is_left(run):
    run.start()
    run.store.pause(QUEUE, "asleep")  # before a worker may take one
    run.wait_started(run.send("slow", seconds=60.0))
    run.send("asleep")
    run.send("asleep")
    began = time.monotonic()
    running = drain(run, "--timeout", "1.5", "--resume")
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 3, err
    assert time.monotonic() - began < 20
    assert "default: group 'asleep' is paused" in err
    assert "Not drained" in out
    assert [line for line in out.splitlines() if "asleep" in line and "paused" in line]
    assert [line for line in out.splitlines() if "slow" in line and "leased" in line]
    assert run.store.intake.status().accept
    asked = drain(run, "--timeout", "0", "--json")
    shown = json.loads(asked.communicate(timeout=PATIENCE)[0])
    assert (asked.returncode, shown["drained"], shown["accept"]) == (3, False, False)
    assert shown["left"] == {QUEUE: {"waiting": 2, "running": 1}}
    assert {one["group"]: one["why"] for one in shown["groups"][QUEUE]} == {"asleep": "paused", "slow": None}


def test_a_drain_that_is_interrupted_leaves_the_intake_off_and_says_so(run):
    run.start()
    message = run.send("g", until="over")
    running = drain(run, "--timeout", "80")
    said = iter(running.stderr.readline, "")
    assert next(line for line in said if "intake.off" in line)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    assert "the intake is off; `lockstep accept on` opens it again" in err
    assert not run.store.intake.status().accept
    (run.directory / "over").touch()
    wait_for("what runs goes on", lambda: run.record_of(message).state is MessageState.DONE)

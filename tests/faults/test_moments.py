"""Workers that die at the worst moment, and how soon another goes on."""

import os
import signal
import time

import pytest

from tests.history.checker import Outcome
from tests.history.events import Ending, FaultKind, Kind
from tests.support.fault_run import LEASE, FaultRun
from tests.support.freezing import freeze
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

#: Seconds until a message whose worker died runs again: its lease, an interval of the reaper and a wake-up. A machine
#: with two busy cores adds to that: its reaper may come so late that it extends the expired lease once.
RECOVERY = 2 * LEASE + 0.5 + 0.1 + 10


def _killed_while_held(run: FaultRun, point: str) -> tuple[str, int]:
    """Kill a worker that holds a message at a point; answers the message, and when the worker was dead."""
    victim = run.start(HOLD=point, ACTOR_MODULES="tests.support.held_actors")[0]
    message = run.send("g")
    behind = [run.send("g") for _ in range(5)]
    (held, *_) = wait_for("it is held", lambda: run.events(Kind.BIT, message))
    run.start()
    time.sleep(1.5 * LEASE)  # it is alive, so its lease is renewed
    run.kill(victim, *victim.pids, name=point)
    killed = time.monotonic_ns()
    run.drain()
    # Its settle was held back for as long as it took to start the other worker and to kill this one.
    verdict = run.verdict(settle=(killed - held.at) / 1e9 + 1)
    assert verdict.outcome is Outcome.VALID, verdict
    assert [e.message for e in run.events(Kind.START) if e.pid != victim.child] == [message, *behind]
    return message, killed


def test_killed_between_claim_and_start(run):
    message, killed = _killed_while_held(run, "claimed")
    (start,) = run.events(Kind.START, message)
    assert 0 < (start.at - killed) / 1e9 < RECOVERY


def test_killed_between_the_effect_and_its_settle(run):
    message, killed = _killed_while_held(run, "ended")
    first, second = run.events(Kind.START, message)
    assert second.fence > first.fence
    assert 0 < (second.at - killed) / 1e9 < RECOVERY
    assert [event.outcome for event in run.events(Kind.EFFECT, message)] == ["applied", "repeated"]


def test_killed_mid_actor_is_next_in_its_group_in_time(run):
    victim = run.start()[0]
    messages = [run.send(f"g{number}", until="over") for number in range(4)]
    behind = [run.send(f"g{number}") for number in range(4)]
    for message in messages:
        run.wait_started(message)
    run.start()
    run.kill(victim, *victim.pids)
    killed = time.monotonic_ns()
    again = [run.wait_started(message, 2) for message in messages]
    (run.directory / "over").touch()
    assert max(event.at - killed for event in again) / 1e9 < RECOVERY
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 4
    assert all(len(run.events(Kind.START, one)) == 1 for one in behind)


def test_zombie_that_wakes_after_its_group_went_on_changes_nothing(run):
    zombie = run.start()[0]
    first = run.send("g", until="over")
    rest = [run.send("g", seconds=0.01) for _ in range(5)]
    run.wait_started(first)
    other = run.start()[0]
    with run.fault(FaultKind.PAUSE, "pause", zombie.child):
        freeze(zombie.child)
        (run.directory / "over").touch()
        wait_for("the other finished everything", lambda: run.unfinished() == 0)
        done = run.record_of(first)
        (run.directory / "over").unlink()  # the zombie is in the middle of its run when it wakes
        zombie.signal(signal.SIGCONT, zombie.child)
        wait_for("it noticed", lambda: zombie.child in {e.pid for e in run.events(Kind.END, first)})
    last = run.send("g")
    run.drain()
    assert run.record_of(first) == done  # neither its state nor its attempts
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 1
    outcomes = {event.pid: event.outcome for event in run.events(Kind.END, first)}
    assert outcomes == {zombie.child: Ending.INTERRUPTED, other.child: Ending.DONE}
    assert all(len(run.events(Kind.START, one)) == 1 for one in [*rest, last])


def test_redis_away_exactly_when_a_retry_is_decided(run):
    run.start()
    failing = [run.send(f"g{number}", until="away", failures=1) for number in range(4)]
    behind = [run.send(f"g{number}") for number in range(4)]
    for message in failing:
        run.wait_started(message)
    port = run.redis.port
    with run.fault(FaultKind.OUTAGE, "away"), run.fault(FaultKind.FAILURE, "failures"):
        os.kill(run.redis.pid, signal.SIGKILL)
        (run.directory / "away").touch()
        run.wait_done(4)  # they failed while Redis was away
        time.sleep(2.5)
        run.redis.stop()
        run.redis.start(run.directory / "redis", port)
        run.bit("away")
        run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert {run.record_of(one).state for one in [*failing, *behind]} == {"done"}


@pytest.mark.parametrize("work", ["waits", "computes"])
def test_all_threads_busy_for_five_leases(make_run, work):
    # Eight threads that compute share two cores with everything else: their renewals need the time.
    lease = 2 if work == "computes" else 1
    run = make_run(LEASE_SECONDS=str(lease))
    worker, _ = run.start(2)
    with run.fault(FaultKind.NOISE, "busy"):
        for number in range(8):
            run.send(f"g{number}", seconds=5.0 * lease, computes=work == "computes")
            run.send(f"g{number}")
        run.drain()
    busy = [event.at for event in run.events(Kind.START) if event.pid == worker.child][:4]
    assert len(busy) == 4
    run.bit("busy")
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0
    assert "lease." not in worker.text()


def test_clocks_two_minutes_off_change_nothing(run):
    for skew in ("120", "-120"):
        run.start(
            CLOCK_SKEW=skew, PYTHONPATH="tests/support/skew", ACTOR_MODULES="tests.support.skewed_actors"
        )
    run.load(groups=6, each=20, seconds=0.03)
    with run.fault(FaultKind.NOISE, "skew"), run.fault(FaultKind.FAILURE, "failures"):
        for number in range(6):
            run.send(f"g{number}", failures=1)
            run.send_later(f"g{number}", 1500)
        run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.evidence["skew"] == 2
    assert verdict.extra_runs == 6
    assert len({event.pid for event in run.events(Kind.START)}) == 2

"""Workers that die, stand still, or are asked to stop."""

import signal
import time
from itertools import pairwise

import pytest

from tests.history.checker import Outcome
from tests.history.events import Ending, FaultKind, Kind
from tests.support.fault_run import LEASE
from tests.support.freezing import freeze
from tests.support.waiting import wait_for
from tests.support.worker import alive

pytestmark = pytest.mark.faults


def test_retries_are_not_overtaken(run):
    failing = [run.send(f"g{number}", failures=3) for number in range(4)]
    for _ in range(10):
        for number in range(4):
            run.send(f"g{number}")
    with run.fault(FaultKind.FAILURE, "failures"):
        run.start(2)
        run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.evidence == {"failures": 12}
    assert [len(run.events(Kind.START, message_id)) for message_id in failing] == [4] * 4


def test_worker_killed_mid_actor_under_load(run):
    victim, _ = run.start(2)
    run.load(groups=12, each=25, seconds=0.15)  # long enough for the kill to hit one
    run.wait_done(60)
    run.wait_running(victim)
    run.kill(victim, *victim.pids)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.evidence["kill"] >= 1
    assert 1 <= verdict.extra_runs <= 4


def test_sigterm_under_load_twice_loses_nothing(run):
    run.load(groups=10, each=40, seconds=0.08)
    ended = 0
    for name, whole_group in (("first", False), ("second", True)):
        worker = run.start()[0]
        run.wait_done(ended + 40)
        run.wait_running(worker)
        with run.fault(FaultKind.STOP, name, worker.child):
            asked = time.monotonic_ns()
            # Some platforms signal every process, and the master passes it on: each gets it twice.
            worker.signal(signal.SIGTERM, *(worker.pids if whole_group else (worker.master,)))
            assert worker.wait_gone() == 0, worker.text()
        late = [event for event in run.events(Kind.START) if event.at > asked + 1_500_000_000]
        assert not late
        assert run.unfinished() > 0
        ended = len(run.events(Kind.END))
        assert ended == len(run.events(Kind.START))
    run.start()
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0


def test_sigterm_with_an_actor_longer_than_the_grace_uses_no_attempt(run):
    worker = run.start(WORKER_SHUTDOWN_TIMEOUT="1")[0]
    long = run.send("g", until="over")
    behind = run.send("g")
    run.wait_started(long)
    with run.fault(FaultKind.STOP, "stop", worker.child):
        worker.signal(signal.SIGTERM, worker.master)
        assert worker.wait_gone() == 0, worker.text()
    (end,) = run.events(Kind.END, long)
    assert end.outcome == Ending.INTERRUPTED
    (run.directory / "over").touch()
    run.start()
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert [event.attempt for event in run.events(Kind.START, long)] == [1, 1]
    assert [attempt.outcome for attempt in run.record_of(long).attempts] == ["released", "done"]
    assert len(run.events(Kind.START, behind)) == 1


def test_zombie_changes_nothing(run):
    zombie = run.start()[0]
    first = run.send("g", until="over")
    rest = [run.send("g", seconds=0.01) for _ in range(5)]
    run.wait_started(first)
    other = run.start()[0]
    with run.fault(FaultKind.PAUSE, "pause", zombie.child):
        freeze(zombie.child)
        again = run.wait_started(first, 2)
        zombie.signal(signal.SIGCONT, zombie.child)  # while the other runs the same message
    assert again.pid == other.child
    wait_for("the zombie noticed", lambda: "lease.lost" in zombie.text())
    wait_for("its run ended", lambda: zombie.child in {e.pid for e in run.events(Kind.END, first)})
    (run.directory / "over").touch()
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    stale = [event for event in run.events(Kind.END, first) if event.pid == zombie.child]
    assert [event.outcome for event in stale] == [Ending.INTERRUPTED]
    assert [len(run.events(Kind.START, one)) for one in [first, *rest]] == [2, 1, 1, 1, 1, 1]


def test_worker_whose_master_was_killed_leaves(run):
    worker = run.start()[0]
    run.load(groups=8, each=60, seconds=0.05)
    run.wait_done(20)
    run.wait_running(worker)
    with run.fault(FaultKind.STOP, "orphaned", worker.child):
        worker.signal(signal.SIGKILL, worker.master)
        killed = time.monotonic_ns()
        wait_for("the orphan is gone", lambda: not alive(worker.child))
    assert not [event for event in run.events(Kind.START) if event.at > killed + 2_000_000_000]
    assert run.unfinished() > 0
    run.start()
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict


def test_actor_that_crashes_its_interpreter_is_dead_and_its_group_goes_on(run):
    run.start(4)  # the last one survives, and goes on
    with run.fault(FaultKind.CRASH, "crash"):
        poison = run.send("g", crash=True)
        behind = [run.send("g") for _ in range(5)]
        wait_for("it is dead", lambda: run.record_of(poison).state == "dead")
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.evidence == {"crash": 3}
    record = run.record_of(poison)
    assert (record.reason, record.death.error, record.death.fingerprint) == (
        "worker_lost",
        "worker_lost",
        None,
    )
    assert [kind.example for kind in run.store.dead.summary()] == [poison]
    assert all(run.record_of(one).state == "done" for one in behind)
    starts = [event.at for event in run.events(Kind.START, poison)]
    assert all(later - one < (LEASE + 2.0) * 1e9 for one, later in pairwise(starts))

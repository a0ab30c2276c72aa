"""Redis that comes back without the end of what it had acknowledged, as after a power cut."""

import os
import shutil
import signal
import time

import pytest

from tests.history.checker import Outcome
from tests.history.events import FaultKind, Kind
from tests.support.fault_run import LEASE
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


def test_forgotten_work_is_done_again_in_order_and_never_at_once(run):
    run.start(2)
    run.load(groups=6, each=30, seconds=0.05)
    run.wait_done(20)
    files, kept, port = run.directory / "redis" / "appendonlydir", run.directory / "kept", run.redis.port
    # These are accepted before the moment that Redis comes back to, and begin after it.
    long = [run.send(f"long{number}", seconds=1.5 * LEASE) for number in range(2)]
    with run.fault(FaultKind.TAIL, "tail"):
        shutil.copytree(files, kept)
        run.wait_done(len(run.events(Kind.END)) + 40)
        for message in long:
            run.wait_started(message)
        os.kill(run.redis.pid, signal.SIGKILL)
        run.redis.stop()
        shutil.rmtree(files)
        kept.rename(files)
        run.redis.start(run.directory / "redis", port)
    restarted = time.monotonic_ns()
    done = {event.message for event in run.events(Kind.END) if event.at < restarted}
    assert any(run.record_of(message).state != "done" for message in done)
    run.bit("tail")
    assert run.store.fsck.run().found == []  # older, but whole
    run.drain(25)
    assert run.store.fsck.run().found == []
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs > 0
    # Nobody claims until whoever may still run under a forgotten lease has lost it.
    first = min(event.at for event in run.events(Kind.START) if event.at > restarted)
    assert (first - restarted) / 1e9 > 0.8 * LEASE
    wait_for("nobody died", lambda: all(worker.process.poll() is None for worker in run.workers))

"""A soak: work under faults at random for minutes, all invariants held, and more than half the calm throughput.

Not part of the usual tests: ``make soak``. ``SOAK_SECONDS`` says how long; ``SOAK_SEED`` breaks the same again.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from lockstep.states import MessageState
from tests.history.checker import Outcome
from tests.soak.breaker import Breaker
from tests.soak.sender import Sender, patiently
from tests.support.fault_run import QUEUE, FaultRun
from tests.support.waiting import wait_for

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SOAK_SEED", time.time_ns() // 1_000_000))
WORKERS = 4
#: Seconds until nothing is left of the backlog: a lease and a look of the reaper are the least of it.
DRAIN = 60.0


def test_random_faults_for_minutes(tmp_path: Path) -> None:
    print(f"\nSOAK_SECONDS={SECONDS:g} SOAK_SEED={SEED} in {tmp_path}", flush=True)
    # Every record is kept until the checker has seen how its message ended.
    with closing(FaultRun(tmp_path, LEASE_SECONDS="3", RETENTION_DONE_COUNT="10000000")) as run:
        breaker = Breaker(run, run.start(WORKERS), Random(SEED))
        sender = Sender(run, Random(SEED + 1))
        with sender.sending():
            wait_for("all are at work", lambda: _completed(run) > 1000)
            calm = _throughput(run, lambda: time.sleep(SECONDS / 6))
            faulty = _throughput(run, lambda: breaker.go_on(SECONDS * 5 / 6))
        run.drain(DRAIN)
        verdict = run.verdict(drain=DRAIN)

        print(f"{faulty:.0f} messages a second under {breaker.counts.total()} faults, {calm:.0f} without")
        print(f"ratio {faulty / calm:.2f}; lowest backlog {sender.lowest}; {dict(breaker.counts)}")
        print(verdict, flush=True)
        assert verdict.outcome is Outcome.VALID, f"SOAK_SEED={SEED}\n{verdict}"
        ended = [worker for worker in breaker.workers if worker.process.poll() is not None]
        assert not ended, f"SOAK_SEED={SEED}\n{ended[0].text()}"
        assert sender.lowest > 0, "the sender was the limit"
        assert faulty > calm / 2, f"SOAK_SEED={SEED}"


def _completed(run: FaultRun) -> int:
    return patiently(lambda: run.store.counts(QUEUE).messages)[MessageState.DONE]


def _throughput(run: FaultRun, during: Callable[[], None]) -> float:
    """Completions a second, as the store counts them, while something is done."""
    since, before = time.monotonic(), _completed(run)
    during()
    return (_completed(run) - before) / (time.monotonic() - since)

"""A primary that is demoted and promoted, and guards that break: real worker processes."""

import time

import pytest
import redis

from lockstep.ending import EXIT_BROKEN
from tests.history.checker import Outcome
from tests.support.fault_run import FaultRun
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.faults


def test_idle_workers_run_the_next_message_at_once_after_a_failover(run: FaultRun) -> None:
    run.start(2)
    delays = []
    with redis.Redis.from_url(run.environment["REDIS_URL"]) as client:
        for number in range(3):
            wait_for("all consumers wait for work", lambda: _blocked(client) == _consumers(run) > 0)
            client.execute_command("REPLICAOF", "127.0.0.1", "1")  # nobody is there: it keeps its data
            wait_for("their reads were ended", lambda: _blocked(client) == 0)
            client.execute_command("REPLICAOF", "NO", "ONE")
            sent_at = time.monotonic()
            run.wait_started(run.send(f"g{number}"))
            delays.append(time.monotonic() - sent_at)
    assert min(delays) < 2.0, delays  # polling alone would take longer; the machine may be busy once
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0
    assert all(worker.process.poll() is None for worker in run.workers)


def _blocked(client: "redis.Redis[bytes]") -> int:
    return int(client.info("clients")["blocked_clients"])


def _consumers(run: FaultRun) -> int:
    return sum(len(one.queues) for one in run.store.processes.listing())


def test_a_process_whose_guard_breaks_exits_with_a_reason(run: FaultRun) -> None:
    (worker,) = run.start(
        ACTOR_MODULES="tests.support.fault_actors,tests.support.broken_guards", BROKEN_GUARD="interrupter"
    )
    assert worker.process.wait(PATIENCE) == EXIT_BROKEN
    assert "process.broken" in worker.text()
    assert "the service interrupter failed 3 times in a row" in worker.text()

"""Redis that dies, freezes, forgets scripts, or drops connections."""

import os
import signal
import time

import pytest
import redis

from tests.history.checker import Outcome
from tests.history.events import FaultKind, Kind
from tests.support.fault_run import LEASE, FaultRun
from tests.support.freezing import freeze
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


def test_redis_killed_and_restarted_on_the_same_data(run):
    workers = run.start(2)
    run.load(groups=10, each=40, seconds=0.03)
    run.wait_done(40)
    port = run.redis.port
    with run.fault(FaultKind.OUTAGE, "killed"):
        os.kill(run.redis.pid, signal.SIGKILL)
        wait_for("workers noticed", lambda: all("redis.lost" in worker.text() for worker in workers))
        time.sleep(1.0)
        run.redis.stop()
        run.redis.start(run.directory / "redis", port)
        run.bit("killed")
        wait_for("workers are back", lambda: all("redis.back" in worker.text() for worker in workers))
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert all(worker.process.poll() is None for worker in workers)


def test_frozen_redis_is_no_takeover(run):
    workers = run.start(2)
    run.load(groups=10, each=20, seconds=0.1)
    run.wait_done(10)
    with run.fault(FaultKind.OUTAGE, "frozen"):
        freeze(run.redis.pid)
        frozen = time.monotonic_ns()
        time.sleep(3 * LEASE)
        thawed = time.monotonic_ns()
        os.kill(run.redis.pid, signal.SIGCONT)
    # Nothing could be claimed: what started in the meantime was claimed before.
    started = [event for event in run.events(Kind.START) if frozen + 3_000_000_000 < event.at < thawed]
    assert not started
    assert all("redis.lost" in worker.text() for worker in workers)
    run.bit("frozen")
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs <= 8  # no more than ran when it froze


def _while_working(run: FaultRun, name: str, every: float, *command: str) -> int:
    """Send a command again and again while workers work; answers how often it was, which is 20 times at least."""
    run.start(2)
    run.load(groups=10, each=40, seconds=0.05)
    times = 0
    with redis.Redis.from_url(run.environment["REDIS_URL"]) as client:
        with run.fault(FaultKind.NOISE, name):
            while (run.unfinished() > 0 or times < 20) and times < 200:
                if run.unfinished() == 0:  # this process was slower than the workers
                    run.load(groups=10, each=10, seconds=0.05)
                client.execute_command(*command)
                times += 1
                time.sleep(every)
        calls = client.info("commandstats")
    run.drain()
    name_of_stat = "cmdstat_" + "|".join(part.lower() for part in command[:2])
    assert calls[name_of_stat]["calls"] == times
    return times


def test_scripts_flushed_again_and_again(run):
    _while_working(run, "flushed", 0.1, "SCRIPT", "FLUSH")
    with redis.Redis.from_url(run.environment["REDIS_URL"]) as client:
        assert client.info("errorstats")["errorstat_NOSCRIPT"]["count"] > 10
    run.bit("flushed")
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0


def test_connections_killed_again_and_again(run):
    before = _connections(run)
    times = _while_working(run, "dropped", 0.2, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert _connections(run) - before > 2 * times  # those killed were opened again
    run.bit("dropped")
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0


def _connections(run: FaultRun) -> int:
    with redis.Redis.from_url(run.environment["REDIS_URL"]) as client:
        return int(client.info("stats")["total_connections_received"])

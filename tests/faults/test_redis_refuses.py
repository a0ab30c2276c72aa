"""Redis that answers, but not what anybody hoped for; or that is not there yet."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from lockstep.errors import MemoryLow, NotAccepted, RedisUnavailable
from tests.history.checker import Outcome
from tests.history.events import FaultKind, Kind
from tests.support.fault_run import LEASE, FaultRun
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.faults

#: Refusals that one worker process may provoke in a second without being called a hot loop, which makes thousands. Its
#: consumer backs off to one try a second, beside it are its renewer, its reaper and its wake-up; each begins with
#: several tries, and each new connection says several things of itself.
_CALM = 100


@contextmanager
def _admin(run: FaultRun, **options: str) -> Iterator["redis.Redis[bytes]"]:
    with redis.Redis.from_url(run.environment["REDIS_URL"], **options) as client:
        yield client


def _refusals(client: "redis.Redis[bytes]", kind: str) -> int:
    return int(client.info("errorstats").get(f"errorstat_{kind}", {"count": 0})["count"])


def _judge(run: FaultRun, name: str) -> None:
    run.bit(name)
    run.drain(25)
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert all(worker.process.poll() is None for worker in run.workers)
    wait_for("they say so", lambda: all("redis.back" in worker.text() for worker in run.workers))


def _refusal(run: FaultRun) -> NotAccepted | RedisUnavailable:
    with pytest.raises((NotAccepted, RedisUnavailable)) as refused:
        run.actor.send(group="g0")
    return refused.value


def test_read_only_for_longer_than_a_lease(run):
    run.start(2)
    run.load(groups=10, each=30, seconds=0.05)
    run.wait_done(20)
    with _admin(run) as client, run.fault(FaultKind.OUTAGE, "read-only"):
        client.execute_command("REPLICAOF", "127.0.0.1", "1")  # nobody is there: it keeps its data
        since = time.monotonic()
        wait_for("settles are refused", lambda: all("redis.lost" in worker.text() for worker in run.workers))
        with pytest.raises(RedisUnavailable):
            run.actor.send(group="g0")
        time.sleep(max(0.0, since + 3.0 - time.monotonic()))
        ended = len(run.events(Kind.END))
        client.execute_command("REPLICAOF", "NO", "ONE")
        seconds = time.monotonic() - since
        assert 0 < _refusals(client, "READONLY") < _CALM * seconds * len(run.workers)
        assert run.unfinished() > 0
        wait_for("work goes on", lambda: len(run.events(Kind.END)) > ended)
    _judge(run, "read-only")


def test_wrong_password(run):
    run.start(2)
    run.load(groups=10, each=30, seconds=0.05)
    run.wait_done(20)
    with _admin(run) as client, run.fault(FaultKind.OUTAGE, "password"):
        client.config_set("requirepass", "changed")
        since = time.monotonic()
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for("they say so", lambda: all("Authentication required" in w.text() for w in run.workers))
        time.sleep(max(0.0, since + 2.0 - time.monotonic()))
        seconds = time.monotonic() - since
        assert 0 < _refusals(client, "NOAUTH") < _CALM * seconds * len(run.workers)
        client.config_set("requirepass", "")
    assert not any("changed" in worker.text() for worker in run.workers)
    _judge(run, "password")


def test_full_redis_accepts_nothing_and_drains(run):
    run.load(groups=10, each=20, seconds=0.02)
    long = run.send("long", seconds=2 * LEASE)
    failing = run.send("failing", failures=1)
    with _admin(run) as client, run.fault(FaultKind.NOISE, "full"), run.fault(FaultKind.FAILURE, "failing"):
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        # Redis itself refuses, until this process looks at its memory again.
        wait_for("this process sees it", lambda: isinstance(_refusal(run), MemoryLow))
        run.start(2)
        run.drain()
        assert _refusals(client, "OOM") > 0
        run.bit("full")
        memory = client.info("memory")
        assert memory["used_memory"] > memory["maxmemory"]
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 1
    assert [len(run.events(Kind.START, one)) for one in (long, failing)] == [1, 2]


def test_absent_at_boot(run):
    run.load(groups=4, each=5, seconds=0.01)
    port = run.redis.port
    os.kill(run.redis.pid, signal.SIGKILL)
    run.redis.stop()
    with run.fault(FaultKind.OUTAGE, "absent"):
        run.start(2)
        wait_for("they say so", lambda: all("redis.lost" in worker.text() for worker in run.workers))
        assert not run.events(Kind.START)
        run.redis.start(run.directory / "redis", port)
    _judge(run, "absent")


def test_loading_its_data(run):
    run.load(groups=10, each=40, seconds=0.01)
    run.start(2)
    run.wait_done(20)
    port = run.redis.port
    with run.fault(FaultKind.OUTAGE, "loading"), ThreadPoolExecutor(1) as pool:
        os.kill(run.redis.pid, signal.SIGKILL)
        run.redis.stop()
        loading = pool.submit(wait_for, "it answers LOADING", lambda: _loads(port), 20)
        run.redis.start(run.directory / "redis", port, extra=("--key-load-delay", "1000"))
        loading.result()
    _judge(run, "loading")


def _loads(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(b"PING\r\n")
            return client.recv(100).startswith(b"-LOADING")
    except OSError:
        return False

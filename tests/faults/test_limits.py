"""Limits under real workers: every sliding window is checked over when the actors really started."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from lockstep.rates import Rate
from tests.history.checker import Outcome
from tests.history.events import Kind
from tests.history.windows import fullest, most_at_once, used
from tests.support.fault_run import FaultRun
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

MS = 1_000_000
Make = Callable[..., FaultRun]


def starts(run: FaultRun, prefix: str = "") -> list[int]:
    return [event.at for event in run.events(Kind.START) if (event.group or "").startswith(prefix)]


def spans(run: FaultRun) -> list[tuple[int, int]]:
    ends = {event.run: event.at for event in run.events(Kind.END)}
    return [(event.at, ends[event.run]) for event in run.events(Kind.START) if event.run in ends]


def calls(run: FaultRun) -> int:
    """Scripts that Redis was asked to run so far."""
    with redis.Redis.from_url(run.environment["REDIS_URL"], protocol=2) as client:
        stats: Any = client.info("commandstats")
    return int(sum(stats[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats))


def test_fifty_threads_keep_every_window_of_one_limit_and_use_it(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=20/500ms")
    for number in range(200):
        run.send(f"g{number % 100}", seconds=0.01)
    run.start(2, threads=25)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert len(starts(run)) == 200
    assert fullest(starts(run), 500 * MS) == 20
    assert used(starts(run), 20, 500 * MS) >= 0.7  # 0.9 and more on a calm machine


def test_without_the_limit_the_windows_are_fuller(make_run: Make) -> None:
    run = make_run()
    for number in range(100):
        run.send(f"g{number}", seconds=0.01)
    run.start(2, threads=25)
    run.drain()
    assert fullest(starts(run), 500 * MS) > 20


def test_a_limited_head_does_not_spin_and_delays_nobody_else(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=1/1h per group")
    run.start(2)
    for _ in range(2):
        for number in range(20):
            run.send(f"limited{number}")
    run.wait_done(20)
    wait_for("the rest waits", lambda: run.store.counts("default").stats.get("limit_waits|step") == 20)
    before = calls(run)
    since = time.monotonic()
    free = [run.send(f"free{number}") for number in range(20)]
    for message_id in free:
        run.wait_started(message_id)
    time.sleep(2)
    own, idle = 20 + 60, 20 * (time.monotonic() - since)  # what two idle workers reap meanwhile
    assert calls(run) - before < own + idle
    assert len(starts(run, "limited")) == 20


def test_limits_change_at_run_time(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=1/1h")
    run.start(2)
    for number in range(40):
        run.send(f"g{number}")
    run.wait_done(1)
    changed = time.monotonic_ns()
    run.store.limits.set("step", rates=(Rate.parse("10/200ms"),))
    run.wait_done(5)
    assert sorted(starts(run))[1] - changed < 30_000 * MS  # without the change: an hour
    run.drain()
    assert fullest(starts(run)[1:], 200 * MS) <= 10


def test_a_worker_process_has_a_rate_of_its_own(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=5/500ms per process")
    for number in range(60):
        run.send(f"g{number}")
    run.start(2)
    run.drain()
    by_process = Counter(event.pid for event in run.events(Kind.START))
    assert len(by_process) == 2
    for pid in by_process:
        mine = [event.at for event in run.events(Kind.START) if event.pid == pid]
        assert fullest(mine, 500 * MS) <= 5
    assert used(starts(run), 10, 500 * MS) >= 0.6


def test_concurrency_holds_over_all_workers_and_survives_one(make_run: Make) -> None:
    run = make_run(CONCURRENCY_LIMITS="step=3")
    run.start(2)
    for number in range(60):
        run.send(f"g{number}", seconds=0.05)
    run.wait_done(10)
    victim = run.wait_running(*run.workers)  # whoever ends a run may take the free slot again, and again
    run.kill(victim, *victim.pids)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert most_at_once(spans(run)) == 3
    with redis.Redis.from_url(run.environment["REDIS_URL"], protocol=2) as client:
        assert client.exists("{faults}:limits:running") == 0


def test_actors_charge_a_limit_by_a_key_and_keep_their_place(make_run: Make) -> None:
    run = make_run()
    for number in range(60):
        run.send(f"g{number % 30}", charges="ab"[number % 2])
    run.start(2)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    for parity in range(2):
        domain = [e.at for e in run.events(Kind.START) if int((e.group or "g0")[1:]) % 2 == parity]
        assert len(domain) == 30
        assert fullest(domain, 400 * MS) <= 5  # it is charged a moment before it is recorded
        assert used(domain, 5, 500 * MS) >= 0.75
    assert all(event.attempt == 1 for event in run.events(Kind.START))


def test_a_provider_holds_a_whole_limit(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=1000/1s")
    first = run.send("first", holds=1.0)
    run.start(2)
    held = run.wait_started(first).at
    for number in range(20):
        run.send(f"g{number}")
    run.drain()
    assert min(starts(run, "g")) - held >= 950 * MS
    assert max(starts(run, "g")) - held < 3_000 * MS


def test_limits_hold_from_the_first_claim_when_redis_was_absent_at_boot(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=2/1h")
    for number in range(10):
        run.send(f"g{number}")
    port = run.redis.port
    os.kill(run.redis.pid or 0, signal.SIGKILL)
    run.redis.stop()
    run.start(2)
    wait_for("they say so", lambda: all("declare its limits" in worker.text() for worker in run.workers))
    run.redis.start(run.directory / "redis", port)
    run.wait_done(2)
    wait_for("the rest waits", lambda: run.store.counts("default").stats.get("limit_waits|step") == 8)
    assert len(starts(run)) == 2

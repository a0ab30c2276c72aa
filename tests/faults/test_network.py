"""A network that loses answers, is slow, or cuts one worker off from Redis."""

import time
from collections.abc import Iterator

import pytest

from lockstep import scripts
from lockstep.settings import Settings
from middleware import make_broker
from tests.history.checker import Outcome
from tests.history.events import FaultKind, Kind
from tests.support import steps
from tests.support.fault_run import LEASE, FaultRun
from tests.support.proxy import Proxy
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


@pytest.fixture
def proxy(run: FaultRun) -> Iterator[Proxy]:
    """A network of its own between the server of the run and whoever is told to use it."""
    proxy = Proxy(run.redis.port)
    yield proxy
    proxy.close()


def test_lost_answers_to_an_enqueue_are_one_message_each(run, proxy, monkeypatch):
    through = make_broker(Settings.load({**run.environment, "REDIS_URL": proxy.url}, env_file=""))
    steps.declare(through, group_by="{group}")
    monkeypatch.setattr(run, "broker", through)
    run.send("g")
    with run.fault(FaultKind.NOISE, "enqueue"):
        for _ in range(10):
            proxy.lose_answer(scripts.load("enqueue").sha)
            run.send("g")
    assert proxy.lost == 10
    run.bit("enqueue")
    through.close()
    assert run.unfinished() == 11
    run.start()
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0


@pytest.mark.parametrize("script", ["claim", "settle", "extend", "reap"])
def test_lost_answers_to_a_worker_are_invisible(run, proxy, script):
    worker = run.start(REDIS_URL=proxy.url)[0]
    for number in range(4):
        run.send(f"long{number}", seconds=1.5)  # long enough to be extended
    with run.fault(FaultKind.NOISE, script):
        run.load(groups=8, each=20, seconds=0.02)
        for times in range(1, 6):
            proxy.lose_answer(scripts.load(script).sha)
            wait_for("an answer is lost", lambda times=times: proxy.lost == times or run.unfinished() == 0)
    run.drain()
    if proxy.lost > 0:
        run.bit(script)
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == 0
    assert "lease.reaped" not in worker.text()  # nothing was claimed that nobody knew of


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "half-open"])
def test_worker_cut_off_for_three_leases_fences_itself(run, proxy, reset):
    lonely = run.start(REDIS_URL=proxy.url)[0]
    long = [run.send(f"g{number}", until="over") for number in range(4)]
    for _ in range(10):
        for number in range(4):
            run.send(f"g{number}", seconds=0.01)
    for message in long:
        run.wait_started(message)
    other = run.start()[0]
    with run.fault(FaultKind.CUT, "cut", lonely.child):
        proxy.cut(reset=reset)
        again = [run.wait_started(message, 2) for message in long]
        time.sleep(LEASE)
        proxy.heal()
    (run.directory / "over").touch()
    assert {event.pid for event in again} == {other.child}
    # Each was interrupted before the other began: by its own clock, for Redis could not tell it.
    ended = {event.message: event.at for event in run.events(Kind.END) if event.pid == lonely.child}
    assert all(ended[event.message] < event.at for event in again)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == len(long)
    assert "lease.lost" in lonely.text()
    other.clear()
    back = run.send("g0")  # the worker that was cut off works again
    assert run.wait_started(back).pid == lonely.child


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "half-open"])
def test_cut_off_for_half_a_lease_is_invisible(make_run, reset):
    run = make_run(LEASE_SECONDS="3")
    proxy = Proxy(run.redis.port)
    try:
        run.start(REDIS_URL=proxy.url)
        for number in range(4):
            first = run.send(f"g{number}", until="over")
            run.send(f"g{number}")
            run.wait_started(first)
        run.start()
        with run.fault(FaultKind.NOISE, "cut"):
            proxy.cut(reset=reset)
            time.sleep(1.5)
            proxy.heal()
        (run.directory / "over").touch()
        if proxy.held_up:
            run.bit("cut")
        run.drain()
        verdict = run.verdict()
        assert verdict.outcome is Outcome.VALID, verdict
        assert verdict.extra_runs == 0
    finally:
        proxy.close()


def test_slow_network_expires_no_lease(make_run):
    run = make_run(LEASE_SECONDS="3")
    proxy = Proxy(run.redis.port)
    proxy.delay = 0.2
    try:
        with run.fault(FaultKind.NOISE, "slow"):
            worker = run.start(REDIS_URL=proxy.url)[0]
            for number in range(3):
                run.send(f"long{number}", seconds=6.0)
            run.load(groups=6, each=4, seconds=0.02)
            began = time.monotonic()
            run.drain()
        assert time.monotonic() - began > 6.0
        run.bit("slow")
        verdict = run.verdict()
        assert verdict.outcome is Outcome.VALID, verdict
        assert verdict.extra_runs == 0
        assert "lease." not in worker.text()
    finally:
        proxy.close()

"""A process that lost a lease and claims the group again while its own thread still runs the earlier message."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.parsing import Backoff
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.proxy import Proxy
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


class Runs:
    """Notes which runs start and end, and how many overlap."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.running = 0
        self.overlaps = 0
        self.go = threading.Event()  #: lets the first run end
        self._guard = threading.Lock()

    @contextmanager
    def run(self, name: object) -> Iterator[None]:
        with self._guard:
            self.running += 1
            self.overlaps += self.running > 1
            self.events.append(f"start {name}")
        try:
            yield
        finally:
            with self._guard:
                self.running -= 1
                self.events.append(f"end {name}")

    def block(self) -> None:
        """Wait as a blocking system call does: no interrupt is seen before it returns."""
        self.go.wait()


@pytest.fixture
def runs(start: Start) -> Iterator[Runs]:
    """Noted runs; what still blocks ends before the worker is stopped."""
    runs = Runs()
    yield runs
    runs.go.set()


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    proxy = Proxy(int(redis_url.rpartition(":")[2].partition("/")[0]))
    yield proxy
    proxy.close()


@pytest.fixture
def broker(settings: Settings, proxy: Proxy) -> Iterator[LockstepBroker]:
    """One that reaches Redis through the proxy, with leases of a second."""
    quick = dataclasses.replace(
        settings,
        redis_url=proxy.url,
        lease_seconds=1.0,
        reap_seconds=0.1,
        backoff=Backoff.parse("fixed:50ms"),
    )
    broker = make_broker(quick)
    dramatiq.set_broker(broker)
    yield broker
    proxy.heal()
    broker.close()


def cut_until_lost(broker: LockstepBroker, proxy: Proxy) -> None:
    proxy.cut(reset=True)
    wait_for("the lease is lost", lambda: any(message.lost for message in broker.held.all()))
    proxy.heal()


def waiting(broker: LockstepBroker) -> bool:
    """Whether the process holds two leases of the group."""
    return len(broker.held) == 2


def test_a_group_whose_lease_was_lost_waits_for_the_thread_that_still_runs_it(
    broker: LockstepBroker, proxy: Proxy, start: Start, ended: Ended, runs: Runs
) -> None:
    @dramatiq.actor(group="g")
    def work(n: int) -> None:
        with runs.run(n):
            if runs.events.count("start 1") == 1:
                runs.block()

    @dramatiq.actor
    def other() -> None:
        pass

    sent = [work.send(n) for n in (1, 2, 3)]
    start()
    wait_for("it runs", lambda: runs.events)
    cut_until_lost(broker, proxy)
    wait_for("the group is claimed again", lambda: waiting(broker))
    assert ended(other.send().message_id).state is MessageState.DONE
    claimed = next(message for message in broker.held.all() if not message.lost)
    wait_for("its lease is renewed", lambda: claimed.deadline > time.monotonic() + 0.5)
    assert runs.events == ["start 1"]
    runs.go.set()
    assert ended(sent[-1].message_id).state is MessageState.DONE
    assert runs.overlaps == 0
    assert runs.events[2:] == ["start 1", "end 1", "start 2", "end 2", "start 3", "end 3"]
    assert len(broker.held) == 0


def test_a_group_that_redis_forgot_waits_for_the_thread_that_still_runs_it(
    broker: LockstepBroker, start: Start, runs: Runs
) -> None:
    @dramatiq.actor(group="g")
    def work(n: int) -> None:
        with runs.run(n):
            if n == 1:
                runs.block()

    work.send(1)
    start()
    wait_for("it runs", lambda: runs.events)
    for key in broker.store.command("KEYS", f"*{broker.settings.queue_namespace}*"):
        broker.store.command("DEL", key)
    work.send(2)
    wait_for("the group is claimed again", lambda: waiting(broker))
    assert runs.events == ["start 1"]
    runs.go.set()
    wait_for("the second has run", lambda: "end 2" in runs.events)
    assert runs.overlaps == 0


def test_a_message_without_a_group_does_not_run_twice_at_once(
    broker: LockstepBroker, proxy: Proxy, start: Start, ended: Ended, runs: Runs
) -> None:
    @dramatiq.actor
    def work() -> None:
        with runs.run(1):
            if len(runs.events) == 1:
                runs.block()

    message = work.send()
    start()
    wait_for("it runs", lambda: runs.events)
    cut_until_lost(broker, proxy)
    wait_for("it is claimed again", lambda: waiting(broker))
    runs.go.set()
    assert ended(message.message_id).state is MessageState.DONE
    assert runs.overlaps == 0


def test_a_message_that_waits_for_an_earlier_run_is_put_back_when_the_process_stops(
    broker: LockstepBroker, proxy: Proxy, start: Start, runs: Runs
) -> None:
    @dramatiq.actor(group="g")
    def work() -> None:
        with runs.run(1):
            runs.block()

    message = work.send()
    worker = start()
    wait_for("it runs", lambda: runs.events)
    cut_until_lost(broker, proxy)
    wait_for("the group is claimed again", lambda: waiting(broker))
    broker.stop_claiming()
    wait_for(
        "it is put back", lambda: broker.store.message(message.message_id).state is not MessageState.RUNNING
    )
    assert len(broker.held) == 1
    runs.go.set()
    worker.stop()
    assert runs.events == ["start 1", "end 1"]


def test_every_thread_that_is_stuck_takes_one_thread_and_no_more(
    broker: LockstepBroker, proxy: Proxy, start: Start, ended: Ended, runs: Runs
) -> None:
    @dramatiq.actor(group_by="{g}")
    def work(g: int) -> None:
        with runs.run(g):
            runs.block()

    @dramatiq.actor
    def other() -> None:
        pass

    for group in range(3):  # of four threads
        work.send(g=group)
    start()
    wait_for("three run", lambda: runs.running == 3)
    cut_until_lost(broker, proxy)
    wait_for("all groups are claimed again", lambda: len(broker.held) == 6)
    for _ in range(20):
        last = other.send()
    assert ended(last.message_id).state is MessageState.DONE
    assert runs.running == 3
    runs.go.set()
    wait_for("all have ended", lambda: len(broker.held) == 0)

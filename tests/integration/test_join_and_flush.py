"""What the tests of an application ask of its broker: join, flush, flush_all."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.errors import QueueJoinTimeout, QueueNotFound

from lockstep.broker import LockstepBroker
from lockstep.draining import left_in
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.burying import bury_all
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_join_waits_for_what_is_delayed_runs_or_backs_off(broker: LockstepBroker, start: Start) -> None:
    ran: list[str] = []

    @dramatiq.actor(max_attempts=2)
    def work(what: str) -> None:
        ran.append(what)
        if what == "fails" and ran.count("fails") == 1:
            raise ValueError("not yet")
        time.sleep(0.05)

    @dramatiq.actor(queue_name="other")
    def other() -> None:
        pass

    start()
    work.send("waits")
    work.send("fails")
    work.send_with_options(args=("late",), delay=300)
    other.send_with_options(delay=60_000)
    broker.join("default", timeout=300_000)
    assert sorted(ran) == ["fails", "fails", "late", "waits"]
    assert broker.store.counts("default").messages[MessageState.DONE] == 3
    broker.join("default")  # without a limit
    broker.join("default.DQ", timeout=0)  # Dramatiq's name for the same


def test_a_join_that_times_out_tells_what_is_left(
    broker: LockstepBroker, start: Start, gate: threading.Event
) -> None:
    @dramatiq.actor(time_limit=60_000)
    def work() -> None:
        gate.wait(PATIENCE)

    work.send()
    work.send_with_options(delay=60_000)
    with pytest.raises(QueueJoinTimeout, match="no worker claims"):
        broker.join("default", timeout=0)
    start()
    wait_for("it runs", lambda: broker.store.counts("default").messages[MessageState.RUNNING] == 1)
    with pytest.raises(QueueJoinTimeout, match="1 scheduled, 1 running"):
        broker.join("default", timeout=300, interval=10)
    broker.store.pause("default")
    with pytest.raises(QueueJoinTimeout, match="the queue is paused"):
        broker.join("default", timeout=1)


def test_what_moves_from_shard_to_shard_is_never_missed(settings: Settings) -> None:
    """They are read one after the other: a step must not pass unseen from one that is read late to one read before."""
    broker = make_broker(dataclasses.replace(settings, queue_shards=8))
    ran: list[str] = []

    def step(*given: object) -> None:
        ran.append("step")

    actors = [dramatiq.actor(step, broker=broker, actor_name=name, queue_name=name) for name in ("a", "b")]
    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        for _ in range(10):
            dramatiq.pipeline([actors[0].message() for _ in range(5)], broker=broker).run()
            broker.join("a", timeout=300_000, interval=1)
            assert len(ran) == 5
            ran.clear()
        for _ in range(6):
            dramatiq.pipeline([actors[n % 2].message() for n in range(6)], broker=broker).run()
            wait_for("both queues are drained", lambda: not left_in(broker.store, ["a", "b"]))
            assert len(ran) == 6
            ran.clear()
    finally:
        worker.stop()
        broker.close()


def test_dead_letters_do_not_hold_up_a_join_but_what_they_block_does(
    broker: LockstepBroker, start: Start
) -> None:
    @dramatiq.actor(group="g", max_attempts=1, on_dead="block")
    def work(n: int) -> None:
        raise ValueError(n)

    start()
    work.send(1)
    broker.join("default", timeout=300_000)
    work.send(2)
    with pytest.raises(QueueJoinTimeout, match="dead letter"):
        broker.join("default", timeout=300)
    broker.flush("default")
    broker.join("default", timeout=0)
    work.send(3)  # the group is free again
    broker.join("default", timeout=300_000)


def test_a_flush_removes_all_that_does_not_run(
    broker: LockstepBroker, start: Start, gate: threading.Event
) -> None:
    ran: list[int] = []

    @dramatiq.actor(group="g", time_limit=60_000)
    def work(n: int) -> None:
        ran.append(n)
        gate.wait(PATIENCE)

    @dramatiq.actor(queue_name="other")
    def other() -> None:
        pass

    for _ in range(3):
        other.send()
    assert bury_all(broker.store, "other") == 3
    other.send_with_options(delay=60_000)
    for number in range(5):
        work.send(number)
    start()
    wait_for("one runs", lambda: ran == [0])
    broker.flush("default")
    assert broker.store.counts("default").messages[MessageState.WAITING] == 0
    assert broker.store.counts("other").messages[MessageState.DEAD] == 3  # another queue
    gate.set()
    broker.join("default", timeout=300_000)
    assert ran == [0]
    assert broker.store.counts("default").messages[MessageState.DONE] == 1
    broker.flush_all()
    counts = broker.store.counts("other").messages
    assert (counts[MessageState.DEAD], counts[MessageState.SCHEDULED]) == (0, 0)
    work.send(9)
    broker.join("default", timeout=300_000)
    assert ran == [0, 9]


def test_queues_that_are_not_declared_and_that_were_never_used(broker: LockstepBroker) -> None:
    for ask in (broker.join, broker.flush):
        with pytest.raises(QueueNotFound):
            ask("nowhere")
    broker.declare_queue("unused")
    broker.join("unused", timeout=0)
    broker.flush("unused")
    broker.flush_all()

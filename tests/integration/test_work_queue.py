"""What a worker has claimed beyond what its threads run: nobody else waits for it in vain."""

import threading
import time
from collections.abc import Callable, Iterator

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.states import MessageState
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]
THREADS = 4


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def stuck(broker: LockstepBroker, start: Start, gate: threading.Event) -> Worker:
    """A worker whose messages took no time until each of its threads got one that does; it holds others too."""

    started: list[str] = []

    @dramatiq.actor(group_by="{group}", time_limit=60_000)
    def work(group: str, blocks: bool = False) -> None:
        if blocks:
            started.append(group)
            assert gate.wait(PATIENCE)

    worker = start()
    broker.enqueue_many([work.message(group=f"g{number}") for number in range(300)])
    wait_for("all are done", lambda: counted(broker, MessageState.DONE) == 300)
    broker.enqueue_many(
        [work.message(group=f"g{number}", blocks=number < THREADS) for number in range(THREADS + 6)]
    )
    wait_for("more are claimed than run", lambda: counted(broker, MessageState.RUNNING) > THREADS)
    wait_for("each thread has a long one", lambda: len(started) == THREADS)
    return worker


def counted(broker: LockstepBroker, state: MessageState, queue: str = "default") -> int:
    return broker.store.counts(queue).messages[state]


def test_what_waits_behind_long_messages_goes_back(
    broker: LockstepBroker, stuck: Worker, gate: threading.Event
) -> None:
    wait_for("others may run them", lambda: counted(broker, MessageState.RUNNING) == THREADS)
    assert counted(broker, MessageState.WAITING) == 6
    gate.set()
    wait_for("all are done", lambda: counted(broker, MessageState.DONE) == 310)


def test_what_has_not_started_goes_back_at_once_when_the_process_stops(
    broker: LockstepBroker, stuck: Worker, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstep.consumer._GIVE_BACK_SECONDS", 3600.0)
    stopping = threading.Thread(target=stuck.stop)
    stopping.start()
    wait_for("others may run them", lambda: counted(broker, MessageState.RUNNING) == THREADS)
    gate.set()
    stopping.join(PATIENCE)
    assert counted(broker, MessageState.WAITING) == 6
    assert counted(broker, MessageState.DONE) == 304


def test_threads_that_one_queue_keeps_busy_are_not_waited_for_by_another(
    broker: LockstepBroker, start: Start, gate: threading.Event
) -> None:
    started: list[int] = []

    @dramatiq.actor(queue_name="slow", time_limit=60_000)
    def slow(number: int) -> None:
        started.append(number)
        assert gate.wait(PATIENCE)

    @dramatiq.actor(queue_name="fast")
    def fast() -> None:
        pass

    start()
    for number in range(THREADS):
        slow.send(number)
    wait_for("each thread has a long one", lambda: len(started) == THREADS)
    fast.send()
    wait_for("it is claimed", lambda: counted(broker, MessageState.RUNNING, "fast") == 1)
    wait_for("it went back", lambda: counted(broker, MessageState.RUNNING, "fast") == 0)
    held = [counted(broker, MessageState.RUNNING, "fast") for _ in range(50) if not time.sleep(0.03)]
    assert held == [0] * 50  # and is not taken again
    gate.set()
    wait_for("a free thread takes it", lambda: counted(broker, MessageState.DONE, "fast") == 1)


def test_another_worker_of_the_same_broker_works(broker: LockstepBroker, start: Start) -> None:
    @dramatiq.actor
    def work() -> None:
        pass

    start().stop()
    start()
    work.send()
    wait_for("it is done", lambda: counted(broker, MessageState.DONE) == 1)

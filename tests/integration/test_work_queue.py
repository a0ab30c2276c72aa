"""What a worker has claimed beyond what its threads run: nobody else waits for it in vain."""

import threading
from collections.abc import Callable, Iterator

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.states import MessageState
from tests.support.waiting import wait_for

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
            assert gate.wait(30)

    worker = start()
    broker.enqueue_many([work.message(group=f"g{number}") for number in range(300)])
    wait_for("all are done", lambda: counted(broker, MessageState.DONE) == 300)
    broker.enqueue_many(
        [work.message(group=f"g{number}", blocks=number < THREADS) for number in range(THREADS + 6)]
    )
    wait_for("more are claimed than run", lambda: counted(broker, MessageState.RUNNING) > THREADS)
    wait_for("each thread has a long one", lambda: len(started) == THREADS)
    return worker


def counted(broker: LockstepBroker, state: MessageState) -> int:
    return broker.store.counts("default").messages[state]


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
    stopping.join(30)
    assert counted(broker, MessageState.WAITING) == 6
    assert counted(broker, MessageState.DONE) == 304

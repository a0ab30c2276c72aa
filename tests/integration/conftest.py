"""A worker in this process, over a real server, with short leases and back-offs."""

import dataclasses
from collections.abc import Callable, Iterator

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.parsing import Backoff
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.waiting import wait_for

FINAL = {MessageState.DONE, MessageState.DEAD, MessageState.CANCELLED}


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    quick = dataclasses.replace(settings, backoff=Backoff.parse("fixed:50ms"), reap_seconds=0.2)
    broker = make_broker(quick)
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


@pytest.fixture
def start(broker: LockstepBroker) -> Iterator[Callable[[], Worker]]:
    """Start a worker of four threads; it is stopped at the end."""
    workers: list[Worker] = []

    def start_worker() -> Worker:
        worker = Worker(broker, worker_threads=4, worker_timeout=100)
        workers.append(worker)
        worker.start()
        return worker

    yield start_worker
    for worker in workers:
        worker.stop()


@pytest.fixture
def ended(broker: LockstepBroker) -> Callable[[str], MessageRecord]:
    """Wait until a message is done or dead, and return its record."""

    def wait(message_id: str) -> MessageRecord:
        wait_for(f"{message_id} has ended", lambda: broker.store.message(message_id).state in FINAL)
        return broker.store.message(message_id)

    return wait

"""A worker that starts and stops in one process, again and again: it gets its whole time, and leaves nothing."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Shutdown

from lockstep.broker import LockstepBroker
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from tests.support.waiting import wait_for

Ended = Callable[[str], MessageRecord]
ROUNDS = 6


def threads() -> list[str]:
    return sorted(thread.name.split("-")[0] for thread in threading.enumerate())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def connections(broker: LockstepBroker) -> int:
    return len(broker.store.command("CLIENT", "LIST").splitlines())


def held_objects(broker: LockstepBroker) -> dict[str, Any]:
    """What a worker adds to its broker, its actors and its process."""
    return {
        "middleware": list(broker.middleware),
        "consumers": list(broker._consumers),
        "held": broker.held.all(),
        "queued": broker.work_queue.qsize(),
        "filters": {name: list(actor.logger.filters) for name, actor in broker.actors.items()},
        "handlers": {name: list(actor.logger.handlers) for name, actor in broker.actors.items()},
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)],
        "loop": get_event_loop_thread(),
        "processes": broker.store.processes.listing(),
    }


def test_six_rounds_end_where_the_first_began(broker: LockstepBroker, ended: Ended) -> None:
    ran: list[int] = []

    @dramatiq.actor(group_by="{n}")
    def work(n: int) -> None:
        ran.append(n)

    @dramatiq.actor(queue_name="other")
    async def other(n: int) -> None:
        ran.append(n)

    work.send(-1)
    before = threads(), descriptors(), connections(broker)
    objects = held_objects(broker)
    for number in range(ROUNDS):
        worker = Worker(broker, worker_threads=4, worker_timeout=100)
        worker.start()
        sent = [work.send(number), other.send(number)]
        for message in sent:
            assert ended(message.message_id).state is MessageState.DONE
        worker.stop()
    assert sorted(ran) == [-1, *(number for number in range(ROUNDS) for _ in range(2))]
    assert threads() == before[0]
    assert held_objects(broker) == objects
    assert descriptors() <= before[1]
    wait_for("Redis has closed the rest", lambda: connections(broker) <= before[2])


def test_a_stop_is_quick_while_nothing_happens(broker: LockstepBroker) -> None:
    """A blocking read of five seconds is not waited for, nor left behind."""

    @dramatiq.actor
    def work() -> None:
        pass

    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    wait_for("it listens", lambda: b"cmd=blpop" in broker.store.command("CLIENT", "LIST"))
    begun = time.monotonic()
    worker.stop()
    assert time.monotonic() - begun < 4
    assert not [name for name in threads() if name.startswith("wake")]


def test_a_queue_that_is_declared_after_the_stop_is_not_consumed(broker: LockstepBroker) -> None:
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    worker.stop()
    before = threads()
    broker.declare_queue("late")
    assert threads() == before
    assert "late" not in worker.consumers


def test_counts_of_a_process_outlive_its_workers(broker: LockstepBroker, ended: Ended) -> None:
    @dramatiq.actor
    def work() -> None:
        pass

    for number in range(2):
        worker = Worker(broker, worker_threads=1, worker_timeout=100)
        worker.start()
        ended(work.send().message_id)
        worker.stop()
        assert broker.ended == number + 1


class Jobs:
    """Runs of an actor: each lasts as long as its worker thread is to be busy."""

    def __init__(self) -> None:
        self.started: list[float] = []
        self.done: list[float] = []
        self.interrupted: list[float] = []
        self.worker: Worker | None = None
        self.seconds: list[float] = []  #: of each thread of the worker

    def run(self) -> None:
        assert self.worker is not None
        seconds = self.seconds[self.worker.workers.index(threading.current_thread())]  # type: ignore[arg-type]
        self.started.append(seconds)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                time.sleep(0.02)
        except Shutdown:
            self.interrupted.append(seconds)
            raise
        self.done.append(seconds)

    def start(self, broker: LockstepBroker, seconds: list[float]) -> Worker:
        """A worker each of whose threads runs a job; returns when all run."""
        self.started.clear()
        self.seconds = seconds
        self.worker = worker = Worker(broker, worker_threads=len(seconds), worker_timeout=1000)
        worker.start()
        broker.enqueue_many([broker.get_actor("job").message() for _ in seconds])
        wait_for("all run", lambda: len(self.started) == len(seconds))
        return worker


@pytest.fixture
def jobs(broker: LockstepBroker) -> Jobs:
    jobs = Jobs()
    dramatiq.actor(jobs.run, actor_name="job", max_attempts=1)
    return jobs


def test_time_that_others_took_is_not_taken_from_the_last(broker: LockstepBroker, jobs: Jobs) -> None:
    worker = jobs.start(broker, [1.5] * 7 + [4.0])
    worker.stop(timeout=8_000)
    assert (sorted(jobs.done), jobs.interrupted) == ([1.5] * 7 + [4.0], [])
    assert broker.store.counts("default").messages[MessageState.DONE] == 8


def test_a_stop_ends_when_all_have_ended(broker: LockstepBroker, jobs: Jobs) -> None:
    worker = jobs.start(broker, [1.0, 0.1])
    begun = time.monotonic()
    worker.stop(timeout=300_000)
    assert sorted(jobs.done) == [0.1, 1.0]
    assert time.monotonic() - begun < 20


def test_the_limit_of_the_settings_interrupts_in_every_round(broker: LockstepBroker, jobs: Jobs) -> None:
    object.__setattr__(broker.settings, "worker_shutdown_timeout", 0.5)
    for number in range(2):
        worker = jobs.start(broker, [30.0, 30.0])
        worker.stop(timeout=300_000)
        assert len(jobs.interrupted) == 2 * (number + 1)
        assert broker.store.counts("default").messages[MessageState.WAITING] == 2
        list(broker.store.purges.purge("default"))


def test_the_time_of_the_stop_interrupts_what_is_still_running(broker: LockstepBroker, jobs: Jobs) -> None:
    worker = jobs.start(broker, [30.0, 0.1])
    worker.stop(timeout=1_000)
    assert (jobs.done, jobs.interrupted) == ([0.1], [30.0])
    assert (
        broker.store.counts("default").messages[MessageState.WAITING] == 1
    )  # released, not left to its lease
    assert broker.held.all() == []

"""What a process says of itself: at once when it changes, again when Redis is back, and truly."""

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from lockstep import reporting
from lockstep.broker import LockstepBroker
from lockstep.embedded import EmbeddedRedis
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.reporting import Look, Reporter, identity, memory_bytes
from lockstep.roles import Choice, Role
from lockstep.settings import Settings
from lockstep.store import Store
from middleware import make_broker
from middleware.lifecycle import look_at
from tests.support.freezing import freeze
from tests.support.waiting import PATIENCE, wait_for

STARTING, READY, DRAINING = ProcessState


def only(store: Store) -> ProcessRecord | None:
    """The one process that is known; None: none is."""
    records = store.processes.listing()
    assert len(records) <= 1
    return records[0] if records else None


def state(store: Store) -> ProcessState | None:
    record = only(store)
    return record and record.state


@pytest.fixture
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report comes by itself: what is known was said because something had changed."""
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 60.0)


def test_a_worker_says_what_it_does(
    broker: LockstepBroker, start: Callable[[], Worker], rarely: None
) -> None:
    go, entered = threading.Event(), threading.Event()

    @dramatiq.actor(broker=broker, queue_name="slow")
    def hold() -> None:
        entered.set()
        go.wait(PATIENCE)

    @dramatiq.actor(broker=broker, queue_name="mail")
    def quick() -> None: ...

    worker = start()
    wait_for("it is ready", lambda: state(broker.store) is READY)
    record = only(broker.store)
    assert record is not None
    assert (record.type, record.name, record.role) == (ProcessType.WORKER, broker.owner, "all")
    assert (record.pid, record.capacity, record.queues) == (os.getpid(), 4, ("mail", "slow"))
    assert (record.busy, record.done) == (0, 0)
    assert record.memory_bytes == pytest.approx(memory_bytes(), rel=0.5)
    for _ in range(2):
        quick.send()
    hold.send()
    assert entered.wait(PATIENCE)
    wait_for("two are done", lambda: broker.ended == 2)
    assert broker.running == 1
    stop = threading.Thread(target=worker.stop)
    stop.start()
    wait_for("it drains", lambda: state(broker.store) is DRAINING)
    record = only(broker.store)
    assert record is not None
    assert (record.busy, record.done) == (1, 2)
    go.set()
    stop.join(PATIENCE)
    assert only(broker.store) is None


def test_a_worker_is_ready_only_when_it_may_claim_from_every_queue(
    broker: LockstepBroker, start: Callable[[], Worker]
) -> None:
    def now() -> ProcessState:
        return look_at(broker, Choice()).state

    assert now() is STARTING  # it takes no queue at all
    broker.declare_queue("mail")
    assert now() is STARTING  # there is no consumer
    start()
    wait_for("its consumer claims", lambda: now() is READY)
    assert broker.connected_queues == {"mail"}
    broker.hold_back("a test")
    assert now() is STARTING  # it must not claim
    broker.let_go("a test")
    assert now() is READY
    assert look_at(broker, Choice(named=frozenset({"typo"}))) == Look(STARTING)
    assert look_at(broker, Choice(named=frozenset({"mail", "typo"}))) == Look(READY, queues=("mail",))
    assert look_at(broker, Choice(Role.EMAIL)) == Look(READY)  # it idles


@pytest.fixture
def lonely(settings: Settings, tmp_path: Path) -> Iterator[tuple[EmbeddedRedis, LockstepBroker]]:
    """A server to break, and a broker on it."""
    with EmbeddedRedis() as server:
        url = server.start(tmp_path / "redis")
        broker = make_broker(dataclasses.replace(settings, redis_url=url, redis_timeout=0.5))
        broker.declare_queue("mail")
        yield server, broker
        broker.close()


def test_it_is_known_again_when_redis_is_back_without_its_data(
    lonely: tuple[EmbeddedRedis, LockstepBroker], caplog: pytest.LogCaptureFixture
) -> None:
    server, broker = lonely
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    try:
        wait_for("it is ready", lambda: state(broker.store) is READY)
        directory, port = server._directory, server.port
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        wait_for("it is told", lambda: "process.unreported" in caplog.text)
        server.stop()
        server.start(directory, port)
        broker.store.command("FLUSHALL")
        wait_for("it is ready again", lambda: state(broker.store) is READY)
    finally:
        worker.stop()
    assert only(broker.store) is None
    assert caplog.text.count("process.unreported") == 1


def test_nothing_waits_for_a_silent_redis(lonely: tuple[EmbeddedRedis, LockstepBroker]) -> None:
    server, broker = lonely
    looks: list[Any] = []

    def look(_: Reporter) -> Look:
        looks.append(1)
        return Look(READY)

    process = identity(ProcessType.SCHEDULER, "s", broker.settings)
    reporter = Reporter(broker.store.processes, process, look)
    reporter.start()
    wait_for("it is ready", lambda: state(broker.store) is READY)
    assert server.pid
    freeze(server.pid)
    try:
        reporter.wake()
        reporter.leave(0.01)  # returns, whatever becomes of it
    finally:
        os.kill(server.pid, signal.SIGCONT)

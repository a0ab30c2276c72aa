"""No thread of a worker ends without a word: it goes on, is replaced, or the worker gives up with a reason."""

import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import TimeLimitExceeded, raise_thread_exception
from dramatiq.worker import WorkerThread

import lockstep.threadwatch
from lockstep.broker import LockstepBroker
from lockstep.consumer import LockstepConsumer
from lockstep.failures import Failures
from lockstep.holding import Interrupter, Renewer
from lockstep.reaper import Reaper
from lockstep.service import Service
from lockstep.wakeup import WakeUp
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SERVICES = {"renewer", "interrupter", "reaper", "reporter", "thread-watch"}


class Work:
    """An actor, and what it was called with."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

        def work(n: int, seconds: float = 0.0) -> None:
            self.numbers.append(n)
            time.sleep(seconds)

        self.actor = dramatiq.actor(work, group="g")
        self._sent = 0

    def send(self, seconds: float = 0.0) -> str:
        self._sent += 1
        return str(self.actor.send(self._sent, seconds).message_id)

    def runs(self) -> None:
        self.send()
        wait_for("a message runs", lambda: self._sent in self.numbers)


@pytest.fixture
def work(broker: LockstepBroker) -> Work:
    return Work()


def _ready(broker: LockstepBroker) -> None:
    wait_for("it is ready", lambda: [one.state for one in broker.store.processes.listing()] == ["ready"])


def _once(patch: pytest.MonkeyPatch, of: type, name: str, error: BaseException) -> threading.Event:
    """Let a method fail once, the next time that it is called."""
    real, failed = getattr(of, name), threading.Event()

    def fail(*args: Any, **kwargs: Any) -> Any:
        if failed.is_set():
            return real(*args, **kwargs)
        failed.set()
        raise error

    patch.setattr(of, name, fail)
    return failed


@pytest.mark.parametrize("error", [SystemExit(1), MemoryError(), RuntimeError("no"), TimeLimitExceeded()])
@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Renewer, "run_once"),
        (Interrupter, "run_once"),
        (Reaper, "_reap"),
        (LockstepConsumer, "_turn"),
        (LockstepConsumer, "_exchange_all"),
        (WakeUp, "_wait_for_token"),
        (LockstepConsumer, "_take"),
    ],
)
def test_one_error_of_any_kind_ends_no_thread(
    broker: LockstepBroker,
    start: Callable[[], Worker],
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    of: type,
    name: str,
    error: BaseException,
) -> None:
    start()
    _ready(broker)
    before = {one for one in threading.enumerate() if one.name in SERVICES or "wake-up" in one.name}
    failed = _once(monkeypatch, of, name, error)
    work.send()  # something to do for each
    assert failed.wait(PATIENCE)
    if name != "_take":  # that one waits for its lease
        work.runs()
    else:
        wait_for("the message is reclaimed", lambda: 1 in work.numbers)
    assert all(thread.is_alive() for thread in before)
    _ready(broker)


def test_a_thread_that_is_hit_by_an_exception_at_any_place_goes_on_or_is_replaced(
    broker: LockstepBroker, start: Callable[[], Worker], work: Work
) -> None:
    before = set(threading.enumerate())
    worker = start()
    _ready(broker)
    loop = get_event_loop_thread()
    own = [one for one in set(threading.enumerate()) - before if one is not loop]
    assert {one.name for one in own} >= SERVICES
    for thread in own:
        assert thread.ident is not None
        raise_thread_exception(thread.ident, SystemExit)
    work.runs()
    wait_for("all threads of actors run", lambda: _running(worker) == 4)
    wait_for("the services run", lambda: {one.name for one in threading.enumerate()} >= SERVICES)
    work.runs()
    _ready(broker)


def _running(worker: Worker) -> int:
    return sum(thread.is_alive() for thread in worker.workers)


def _kill_in(patch: pytest.MonkeyPatch, name: str, *, after: bool) -> threading.Event:
    """End the next thread of a worker that calls a method of Dramatiq's, before or after what that does."""
    real, killed = getattr(WorkerThread, name), threading.Event()

    def kill(thread: WorkerThread, *args: Any) -> Any:
        if killed.is_set():
            return real(thread, *args)
        killed.set()
        if after:
            real(thread, *args)
        raise SystemExit

    patch.setattr(WorkerThread, name, kill)
    return killed


def test_a_worker_thread_that_died_is_replaced_and_the_message_that_it_took_along_runs(
    broker: LockstepBroker, start: Callable[[], Worker], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep.threadwatch, "_TAKEN_ALONG_SECONDS", 0.5)
    worker = start()
    first = list(worker.workers)
    killed = _kill_in(monkeypatch, "process_message", after=False)
    message_id = work.send()
    assert killed.wait(PATIENCE)
    wait_for("it is replaced", lambda: _running(worker) == 4 and worker.workers != first)
    wait_for("the message runs", lambda: work.numbers == [1])
    wait_for("it is done", lambda: broker.store.message(message_id).state == "done")
    assert broker.store.message(message_id).crashes == 0  # given back, not left to its lease
    work.runs()


def test_a_message_whose_thread_died_after_its_run_is_settled_as_it_was_decided(
    broker: LockstepBroker, start: Callable[[], Worker], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start()
    lost = _once(monkeypatch, LockstepConsumer, "ack", SystemExit())
    message_id = work.send()
    assert lost.wait(PATIENCE)
    wait_for("it is done", lambda: broker.store.message(message_id).state == "done")
    wait_for("the thread is replaced", lambda: _running(worker) == 4)
    work.runs()
    assert work.numbers == [1, 2]


def test_a_message_whose_thread_died_in_its_run_counts_as_failed(
    broker: LockstepBroker, start: Callable[[], Worker], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start()

    def die(thread: WorkerThread, message: Any) -> None:
        monkeypatch.undo()
        broker.emit_before("process_message", message)
        raise SystemExit  # where Dramatiq catches nothing

    monkeypatch.setattr(WorkerThread, "process_message", die)
    message_id = work.send()
    wait_for("it runs again", lambda: work.numbers == [1])
    wait_for("it is done", lambda: broker.store.message(message_id).state == "done")
    (attempt, _) = broker.store.message(message_id).attempts
    assert attempt.error is not None
    assert attempt.error["type"] == "ThreadDied"
    wait_for("the thread is replaced", lambda: _running(worker) == 4)


def _gave_up(broker: LockstepBroker, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    wait_for("it claims nothing", lambda: not broker.may_claim)
    wait_for(
        "it is not ready", lambda: [one.state for one in broker.store.processes.listing()] == ["starting"]
    )
    assert reason in caplog.text


def test_a_service_that_fails_again_and_again_makes_the_worker_give_up(
    broker: LockstepBroker,
    start: Callable[[], Worker],
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start()
    _ready(broker)

    def fail(service: Interrupter) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Interrupter, "run_once", fail)
    _gave_up(broker, "the service interrupter failed 3 times in a row, at last with RuntimeError", caplog)


@pytest.mark.parametrize("name", ["consumer", "service"])
def test_a_thread_that_died_and_cannot_be_replaced_makes_the_worker_give_up(
    broker: LockstepBroker,
    start: Callable[[], Worker],
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    if name == "service":
        monkeypatch.setattr(Service, "_note", _let_out)
    worker = start()
    _ready(broker)
    if name == "consumer":
        monkeypatch.setattr(LockstepConsumer, "_on_defect", _let_out)
        _once(monkeypatch, LockstepConsumer, "_turn", SystemExit())
    else:
        _once(monkeypatch, Reaper, "run_once", SystemExit())
    _gave_up(broker, "died", caplog)
    assert worker.workers


def _let_out(_: Any, error: BaseException) -> None:
    raise error


def test_what_fails_again_and_again_has_hope_for_a_while() -> None:
    failures = Failures("test.failed", times=3, seconds=0.2)
    for _ in range(2):
        failures.note()
        assert not failures.hopeless
    failures.clear()
    began = time.monotonic()
    while not failures.hopeless:
        failures.note()
        time.sleep(0.01)
    assert time.monotonic() - began >= 0.2
    assert failures.count >= 3

"""Middleware of others around a message: what one of its hooks raises, or that it fails the message."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Retry, Worker
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage, TimeLimitExceeded
from dramatiq.middleware.prometheus import Prometheus
from dramatiq.results import ResultFailure

from lockstep.broker import LockstepBroker
from lockstep.errors import Permanent
from lockstep.records import MessageRecord, NewMessage
from lockstep.states import MessageState
from middleware import Outcome
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


class FalsyError(Exception):
    """An error that counts as false: ``error or other`` is wrong for it."""

    def __bool__(self) -> bool:
        return False


ERRORS: dict[str, Callable[[], BaseException]] = {
    "error": lambda: RuntimeError("broken hook"),
    "falsy": FalsyError,
    "retry": lambda: Retry("again", delay=10),
    "skip": lambda: SkipMessage("skip"),
    "middleware": lambda: MiddlewareError("refused"),
    "rate": lambda: RateLimitExceeded("too many"),
    "permanent": lambda: Permanent("never", code="never"),
    "exit": lambda: SystemExit(1),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "time": TimeLimitExceeded,
}


class Breaks(Middleware):
    """Raises in the hook that a message names."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def _hook(self, hook: str, message: Any) -> None:
        self.seen[hook, message.message_id] += 1
        if message.kwargs.get("hook") == hook:
            raise ERRORS[message.kwargs["raises"]]()

    def before_process_message(self, broker: Any, message: Any) -> None:
        self._hook("before_process_message", message)

    def after_process_message(self, broker: Any, message: Any, **ended: Any) -> None:
        self._hook("after_process_message", message)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        self._hook("after_skip_message", message)

    def before_ack(self, broker: Any, message: Any) -> None:
        self._hook("before_ack", message)

    def after_ack(self, broker: Any, message: Any) -> None:
        self._hook("after_ack", message)

    def before_nack(self, broker: Any, message: Any) -> None:
        self._hook("before_nack", message)

    def after_nack(self, broker: Any, message: Any) -> None:
        self._hook("after_nack", message)


class Records(Breaks):
    """Sees what it is called for, and never raises."""

    def _hook(self, hook: str, message: Any) -> None:
        self.seen[hook, message.message_id] += 1


def healthy(broker: LockstepBroker, worker: Worker) -> None:
    """No message is held for ever, and no thread has died."""
    wait_for("nothing is held", lambda: not broker.held.all())
    assert all(thread.is_alive() for thread in worker.workers)


@pytest.fixture(params=["last", "first"])
def records(broker: LockstepBroker, request: pytest.FixtureRequest) -> Records:
    """A middleware that breaks, at either end of the list, between two that record."""
    outer, inner = Records(), Records()
    where = {"before": type(broker.middleware[0])} if request.param == "first" else {}
    broker.add_middleware(outer, **where)
    broker.add_middleware(Breaks(), after=Records)
    broker.add_middleware(inner, after=Breaks)
    return outer


AFTER = ("after_process_message", "before_ack", "after_ack")


def test_no_hook_undoes_a_success(
    broker: LockstepBroker, start: Start, ended: Ended, records: Records
) -> None:
    ran: list[str] = []

    @dramatiq.actor(max_attempts=3, store_results=True)
    def work(hook: str, raises: str) -> str:
        ran.append(hook)
        return "result"

    sent = [
        work.send_with_options(kwargs={"hook": hook, "raises": raises}, group=f"{hook} {raises}")
        for hook in AFTER
        for raises in ERRORS
    ]
    worker = start()
    for message in sent:
        assert message.get_result(block=True, timeout=10_000) == "result"
        record = ended(message.message_id)
        assert (record.state, len(record.attempts)) == (MessageState.DONE, 1), message.kwargs
    healthy(broker, worker)
    assert len(ran) == len(sent)
    for message in sent:
        for hook in AFTER:
            wait_for(hook, lambda hook=hook, id_=message.message_id: records.seen[hook, id_] == 1)  # type: ignore[misc]
    failures = f"middleware_failures|{AFTER[0]}"
    wait_for("counted", lambda: broker.store.counts("default").stats.get(failures) == len(ERRORS))


@pytest.mark.parametrize("hook", ["after_process_message", "before_nack", "after_nack"])
def test_the_error_of_an_actor_decides_not_that_of_a_hook(
    broker: LockstepBroker, start: Start, ended: Ended, hook: str
) -> None:
    broker.add_middleware(Breaks())

    @dramatiq.actor(max_attempts=2)
    def work(hook: str, raises: str) -> None:
        raise KeyError("of the actor")

    sent = [work.send_with_options(kwargs={"hook": hook, "raises": raises}) for raises in ERRORS]
    worker = start()
    for message in sent:
        record = ended(message.message_id)
        assert (record.state, record.reason) == (MessageState.DEAD, "attempts_exhausted")
        assert [attempt.outcome for attempt in record.attempts] == ["retry", "dead"]
        assert {attempt.error["type"] for attempt in record.attempts if attempt.error} == {"KeyError"}
    healthy(broker, worker)


def test_a_hook_that_fails_before_the_run_fails_the_attempt(
    broker: LockstepBroker, start: Start, ended: Ended, records: Records
) -> None:
    @dramatiq.actor(max_attempts=2)
    def work(hook: str, raises: str) -> None:
        raise AssertionError("must not run")

    kinds = [kind for kind in ERRORS if kind != "skip"]
    sent = [work.send_with_options(kwargs={"hook": "before_process_message", "raises": k}) for k in kinds]
    worker = start()
    for message in sent:
        record = ended(message.message_id)
        outcomes = [attempt.outcome for attempt in record.attempts]
        expected = ["dead"] if message.kwargs["raises"] == "permanent" else ["retry", "dead"]
        assert outcomes == expected, message.kwargs
        assert not any(
            attempt.error and attempt.error["type"] == "AssertionError" for attempt in record.attempts
        )
    healthy(broker, worker)


def test_metrics_that_are_not_set_up_keep_no_message_from_running(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    """Dramatiq sets them up in the processes of its command, and applications run workers in their tests."""
    broker.add_middleware(Prometheus())
    ran: list[int] = []

    @dramatiq.actor(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)

    start()
    assert ended(work.send(1).message_id).state is MessageState.DONE
    assert ended(work.send_with_options(args=(2,), delay=1).message_id).state is MessageState.DONE
    assert ran == [1, 2]


def test_a_message_that_a_hook_skips_is_done_whatever_other_hooks_raise(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    class Skips(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise SkipMessage("not today")

    broker.add_middleware(Breaks())
    broker.add_middleware(Skips())

    @dramatiq.actor
    def work(hook: str, raises: str) -> None:
        raise AssertionError("must not run")

    hooks = ("after_skip_message", "before_ack", "after_ack")
    sent = [work.send(hook=hook, raises=raises) for hook in hooks for raises in ERRORS]
    worker = start()
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE, message.kwargs
    healthy(broker, worker)


class Fails(Middleware):
    """Fails the messages that name the hook."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.kwargs["when"] == "before":
            message.fail()

    def after_process_message(self, broker: Any, message: Any, **ended: Any) -> None:
        if message.kwargs["when"] == "after":
            message.fail()

    def after_skip_message(self, broker: Any, message: Any) -> None:
        if message.kwargs["when"] == "skip":
            message.fail()


@pytest.mark.parametrize(
    "where", [{}, {"before": Outcome}, {"after": Outcome}], ids=["last", "before", "after"]
)
def test_a_message_that_a_middleware_fails_is_dead_after_one_run(
    broker: LockstepBroker, start: Start, ended: Ended, where: dict[str, Any]
) -> None:
    broker.add_middleware(Fails(), **where)
    nacked = Records()
    broker.add_middleware(nacked)

    @dramatiq.actor(max_attempts=3, store_results=True)
    def work(when: str, raises: str | None) -> str:
        if raises is not None:
            raise ERRORS[raises]()
        return "result"

    cases = [(when, raises) for when in ("before", "after") for raises in (None, *ERRORS)]
    cases = [case for case in cases if case != ("after", "skip")] + [("skip", "skip")]
    sent = [work.send(when=when, raises=raises) for when, raises in cases]
    worker = start()
    for message in sent:
        record = ended(message.message_id)
        assert record.state is MessageState.DEAD, message.kwargs
        assert record.reason in ("rejected", "never"), message.kwargs  # that of a Permanent may come first
        assert len(record.attempts) == 1
        with pytest.raises(ResultFailure):
            message.get_result(block=True, timeout=10_000)
    healthy(broker, worker)
    for message in sent:
        wait_for("nacked", lambda id_=message.message_id: nacked.seen["after_nack", id_] == 1)  # type: ignore[misc]


@pytest.mark.parametrize("throws", ["KeyError", ["KeyError"], 7, {"a": 1}])
def test_a_stored_option_that_dramatiq_cannot_read_ends_no_thread(
    broker: LockstepBroker, start: Start, ended: Ended, throws: Any
) -> None:
    @dramatiq.actor(max_attempts=2)
    def work() -> None:
        raise KeyError("x")

    message = work.message_with_options(throws=throws)
    broker.store.enqueue(
        "default", [NewMessage(id=message.message_id, actor="work", payload=message.encode())]
    )
    worker = start()
    record = ended(message.message_id)
    assert [attempt.error["type"] for attempt in record.attempts if attempt.error] == ["InvalidOption"] * 2
    healthy(broker, worker)

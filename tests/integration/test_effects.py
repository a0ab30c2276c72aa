"""Callbacks, pipeline steps and completed groups: sent once, when the attempt is settled as done or dead."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker, group
from dramatiq.middleware import CurrentMessage, GroupCallbacks, Middleware, MiddlewareError, SkipMessage
from dramatiq.rate_limits.backends import StubBackend

from lockstep.broker import LockstepBroker
from lockstep.claimed import ClaimedMessage
from lockstep.errors import Permanent, QueueFull
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from middleware.follow_ups import FollowUps
from tests.support.known import is_known
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


class Told:
    """What callbacks were given, by their name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.data: dict[str, list[Any]] = {}

        @dramatiq.actor
        def succeeded(data: Any, result: Any) -> None:
            self._note("success", data, result)

        @dramatiq.actor
        def failed(data: Any, error: Any) -> None:
            self._note("failure", data, error)

        @dramatiq.actor
        def exhausted(data: Any, counts: Any) -> None:
            self._note("exhausted", data, counts)

    def _note(self, kind: str, data: Any, more: Any) -> None:
        self.data.setdefault(data["message_id"], []).append(data)
        self.calls.append((kind, data["message_id"], more))

    def of(self, message: Any) -> list[tuple[str, Any]]:
        return [(kind, more) for kind, one, more in self.calls if one == message.message_id]


@pytest.fixture
def told(broker: LockstepBroker) -> Told:
    return Told()


CALLBACKS = {"on_success": "succeeded", "on_failure": "failed", "on_retry_exhausted": "exhausted"}


def settled(broker: LockstepBroker) -> None:
    """Nothing is left to do: what was not called until now never is."""

    def idle() -> bool:
        counts = broker.store.counts("default").messages
        return not any(counts[state] for state in MessageState if state not in FINAL)

    wait_for("everything ran", idle)


FINAL = (MessageState.DONE, MessageState.DEAD, MessageState.CANCELLED)


def test_a_pipeline_whose_next_step_is_refused_runs_once_and_is_dead(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    ran: Counter[str] = Counter()

    @dramatiq.actor(max_attempts=3, **CALLBACKS)
    def first(returns: Any) -> Any:
        ran["first"] += 1
        return returns

    @dramatiq.actor
    def takes_nothing() -> None:
        ran["second"] += 1

    piped = [
        first.message(1) | takes_nothing.message(),  # one argument too many
        first.message(2) | takes_nothing.message_with_options(pipe_ignore=True),
    ]
    for pipe in piped:
        pipe.run()
    start()
    refused, ignored = (pipe.messages[0] for pipe in piped)
    record = ended(refused.message_id)
    assert (record.state, record.reason, len(record.attempts)) == (MessageState.DEAD, "pipeline_refused", 1)
    assert ended(ignored.message_id).state is MessageState.DONE
    wait_for("told", lambda: told.of(refused) and told.of(ignored))
    settled(broker)
    assert [kind for kind, _ in told.of(refused)] == ["failure"]
    assert told.of(refused)[0][1]["type"] == "InvalidMessage"
    assert [kind for kind, _ in told.of(ignored)] == ["success"]
    assert ran == {"first": 2, "second": 1}


@pytest.mark.parametrize("broken", ["unknown", "unstorable", "arguments"])
def test_a_callback_that_cannot_be_sent_runs_its_actor_once(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told, broken: str
) -> None:
    ran: list[int] = []

    @dramatiq.actor
    def takes_nothing() -> None: ...

    @dramatiq.actor(max_attempts=3, on_failure="failed")
    def work() -> object:
        ran.append(1)
        return object() if broken == "unstorable" else 1

    target = {"unknown": "nobody", "unstorable": "succeeded", "arguments": "takes_nothing"}[broken]
    message = work.send_with_options(on_success=target)
    start()
    record = ended(message.message_id)
    assert (record.state, record.reason, len(ran)) == (MessageState.DEAD, "callback_refused", 1)
    wait_for("told", lambda: told.of(message))
    settled(broker)
    assert [kind for kind, _ in told.of(message)] == ["failure"]


def test_callbacks_are_sent_once_at_the_end_not_for_each_attempt(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    @dramatiq.actor(max_attempts=3, **CALLBACKS)
    def work(fails: int) -> int:
        message: Any = CurrentMessage.get_current_message()
        if message.attempt <= fails:
            raise ValueError(f"attempt {message.attempt}")
        return 7

    @dramatiq.actor(max_attempts=3, **CALLBACKS)
    def gives_up() -> None:
        raise Permanent("never", code="never")

    well, later, dead, permanent = work.send(0), work.send(2), work.send(3), gives_up.send()
    start()
    for message in (well, later, dead, permanent):
        ended(message.message_id)
    wait_for("told", lambda: len(told.calls) >= 5)
    settled(broker)
    assert told.of(well) == [("success", 7)]
    assert told.of(later) == [("success", 7)]
    assert sorted(told.of(dead)) == [
        ("exhausted", {"retries": 2, "max_retries": 2}),
        ("failure", {"type": "ValueError", "message": "attempt 3"}),
    ]
    assert [kind for kind, _ in told.of(permanent)] == ["failure"]
    assert len(told.calls) == 5


def test_callbacks_and_retried_actors_are_given_what_dramatiq_gives_them(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    seen: dict[str, list[dict[str, Any]]] = {}

    @dramatiq.actor(max_retries=2, **CALLBACKS)
    def work(fails: int) -> int:
        message: Any = CurrentMessage.get_current_message()
        seen.setdefault(message.message_id, []).append(dict(message.options))
        if message.options.get("retries", 0) < fails:
            raise ValueError(f"number {message.attempt}")
        return 7

    @dramatiq.actor(throws=KeyError, **CALLBACKS)
    def throws() -> None:
        raise KeyError("x")

    later, dead, thrown = work.send(1), work.send(3), throws.send()
    start()
    for message in (later, dead, thrown):
        ended(message.message_id)
    wait_for("told", lambda: len(told.calls) >= 4)
    settled(broker)

    first, second, third = seen[dead.message_id]
    assert not first.keys() & {"retries", "traceback", "requeue_timestamp"}
    assert (second["retries"], third["retries"]) == (1, 2)
    assert "ValueError: number 1" in second["traceback"]
    assert "ValueError: number 2" in third["traceback"]
    assert third["requeue_timestamp"] >= second["requeue_timestamp"] > 1_700_000_000_000
    for data in told.data[dead.message_id]:  # of on_failure and on_retry_exhausted
        assert data["options"]["retries"] == 3
        assert "ValueError: number 3" in data["options"]["traceback"]
        assert data["options"]["requeue_timestamp"] >= third["requeue_timestamp"]
    (data,) = told.data[later.message_id]
    assert data["options"]["retries"] == 1
    assert "ValueError: number 1" in data["options"]["traceback"]
    assert ("exhausted", {"retries": 2, "max_retries": 2}) in told.of(dead)
    (data,) = told.data[thrown.message_id]
    assert "retries" not in data["options"]


@pytest.mark.parametrize(
    ("options", "most"),
    [({"max_attempts": 1}, 0), ({"max_retries": 0}, 0), ({}, 2), ({"retry_when": lambda n, error: n < 1}, 2)],
)
def test_on_retry_exhausted_is_given_the_limit(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told, options: dict[str, Any], most: int
) -> None:
    @dramatiq.actor(on_retry_exhausted="exhausted", **options)
    def work() -> None:
        raise ValueError("no")

    message = work.send()
    start()
    ended(message.message_id)
    wait_for("told", lambda: told.of(message))
    retries = 1 if "retry_when" in options else most
    assert told.of(message) == [("exhausted", {"retries": retries, "max_retries": most})]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, MiddlewareError])
def test_a_hook_that_refuses_a_follow_up_loses_nothing_unseen(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told, error: type[BaseException]
) -> None:
    ran: list[int] = []

    class Refuses(Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            if message.actor_name == "succeeded":
                raise error("refused")

    broker.add_middleware(Refuses())

    @dramatiq.actor(on_success="succeeded", on_failure="failed")
    def work() -> int:
        ran.append(1)
        return 1

    message = work.send()
    start()
    ended(message.message_id)
    wait_for("told", lambda: told.of(message))
    settled(broker)
    swallowed = error is RuntimeError  # as for every sender
    assert [kind for kind, _ in told.of(message)] == ["success" if swallowed else "failure"]
    assert len(ran) == 1


def test_a_lost_lease_sends_nothing(broker: LockstepBroker, start: Start, ended: Ended, told: Told) -> None:
    runs: list[int] = []

    @dramatiq.actor(group="g", on_success="succeeded")
    def work() -> int:
        runs.append(1)
        if len(runs) == 1:
            current = CurrentMessage.get_current_message()
            assert isinstance(current, ClaimedMessage)
            # As if another consumer held the group by now.
            current.lease = current.lease._replace(token=current.lease.token[:-1] + "~")
        return len(runs)

    message = work.send()
    start()
    ended(message.message_id)
    wait_for("told", lambda: told.of(message))
    settled(broker)
    assert told.of(message) == [("success", 2)]


def test_a_message_that_a_middleware_stops_succeeds_for_nobody(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    class Stops(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            if message.kwargs.get("how") == "fail":
                message.fail()
            elif message.kwargs.get("how") == "skip":
                raise SkipMessage("not today")

        def after_process_message(self, broker: Any, message: Any, **ended: Any) -> None:
            if message.kwargs.get("how") == "late":
                message.fail()

    broker.add_middleware(Stops(), before=type(broker.middleware[0]))  # its after hooks are the last

    @dramatiq.actor(**CALLBACKS)
    def work(how: str) -> int:
        return 1

    sent = [work.send(how=how) for how in ("fail", "late", "skip", "run")]
    start()
    for message in sent:
        ended(message.message_id)
    wait_for("told", lambda: len(told.calls) >= 3)
    settled(broker)
    kinds = [[kind for kind, _ in told.of(message)] for message in sent]
    assert kinds == [["failure"], ["failure"], [], ["success"]]


def test_what_a_dead_process_owes_is_sent_by_the_reaper_of_another(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    @dramatiq.actor(on_success="succeeded")
    def work(n: int) -> int:
        return n

    outbox = broker.store.shards("default")[0].outbox
    message = work.send(1)
    settings = broker.settings
    given = {"REDIS_URL": settings.redis_url or "", "QUEUE_NAMESPACE": settings.queue_namespace}
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.dying_actors"],
        env={**os.environ, **given},
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert broker.store.message(message.message_id).state is MessageState.DONE
    (entry,) = broker.store.command("ZRANGE", outbox, 0, -1)
    start()
    wait_for("told", lambda: told.of(message))
    settled(broker)
    broker.deliver(broker.store.shards("default")[0], [entry])  # the other process was only slow
    settled(broker)
    assert told.of(message) == [("success", 1)]
    assert not broker.store.command("EXISTS", outbox)


def test_what_is_owed_is_sent_while_the_intake_is_off(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    @dramatiq.actor(on_success="succeeded")
    def work() -> int:
        return 1

    message = work.send()
    broker.store.intake.switch(accept=False, why="maintenance")
    start()
    wait_for("told", lambda: told.of(message))
    assert told.of(message) == [("success", 1)]


@pytest.mark.parametrize("again", [False, True])
def test_a_group_is_complete_when_each_of_its_messages_is_done(
    broker: LockstepBroker, start: Start, ended: Ended, again: bool
) -> None:
    broker.add_middleware(GroupCallbacks(StubBackend()))
    completed: list[int] = []
    done: list[int] = []

    @dramatiq.actor
    def complete() -> None:
        completed.append(len(done))

    @dramatiq.actor(max_attempts=3)
    def work(n: int) -> None:
        message: Any = CurrentMessage.get_current_message()
        if again and message.attempt < 3:
            raise ValueError("again")
        done.append(n)

    together = group([work.message(n) for n in range(5)])
    together.add_completion_callback(complete.message())
    together.run()
    start()
    wait_for("completed", lambda: completed)
    settled(broker)
    assert completed == [5]


def test_dramatiqs_own_middleware_sends_nothing_twice(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    from dramatiq.middleware import Callbacks, Pipelines

    broker.add_middleware(Callbacks())
    broker.add_middleware(Pipelines())
    assert any(isinstance(one, FollowUps) for one in broker.middleware)

    @dramatiq.actor(on_success="succeeded")
    def work(n: int = 0) -> int:
        return 1

    pipe = work.message() | work.message()
    pipe.run()
    start()
    for message in pipe.messages:
        ended(message.message_id)
        wait_for("told", lambda message=message: told.of(message))  # type: ignore[misc]
    settled(broker)
    assert len(told.calls) == 2


@pytest.fixture
def crowded(settings: Settings) -> Iterator[LockstepBroker]:
    """A broker with several shards, whose queues take one message each."""
    few = dataclasses.replace(settings, queue_shards=4, max_queue_length=4, reap_seconds=0.2)
    broker = make_broker(few)
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


def test_follow_ups_go_to_other_shards_and_full_queues_and_wait_for_their_time(
    crowded: LockstepBroker,
) -> None:
    ran: list[tuple[str, Any]] = []

    @dramatiq.actor(group_by="{name}")
    def step(name: str, *args: Any) -> str:
        ran.append((name, args))
        return name

    @dramatiq.actor(queue_name="other")
    def other(*args: Any) -> None:
        ran.append(("other", args))

    @dramatiq.actor(queue_name="other", group_by="{g}")
    def filler(g: str) -> None: ...

    with pytest.raises(QueueFull):
        for number in range(20):
            filler.send(str(number))
    pipe = (
        step.message("a")
        | step.message("b")
        | step.message_with_options(args=("c",), delay=300)
        | other.message()
    )
    crowded.store.pause("other")
    pipe.run()
    worker = Worker(crowded, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        wait_for("the last step is enqueued", lambda: is_known(crowded, pipe.messages[-1].message_id))
        record = crowded.store.message(pipe.messages[2].message_id)
        assert record.attempts[0].started_ms - record.enqueued_ms >= 300
        crowded.store.resume("other")
        wait_for("all ran", lambda: len(ran) == 4)
    finally:
        worker.stop()
    assert ran == [("a", ()), ("b", ("a",)), ("c", ("b",)), ("other", ("c",))]
    for shard in (*crowded.store.shards("default"), *crowded.store.shards("other")):
        assert not crowded.store.command("EXISTS", shard.outbox)


def test_a_worker_that_stops_enqueues_what_follows_first(
    broker: LockstepBroker, start: Start, ended: Ended, told: Told
) -> None:
    stopping = threading.Event()

    @dramatiq.actor(on_success="succeeded")
    def work() -> int:
        stopping.set()
        wait_for("the process stops", lambda: broker.stopping)
        return 1

    message = work.send()
    worker = start()
    assert stopping.wait(PATIENCE)
    worker.stop()
    assert broker.store.message(message.message_id).state is MessageState.DONE
    assert broker.store.counts("default").messages[MessageState.WAITING] == 1
    assert not broker.store.command("EXISTS", broker.store.shards("default")[0].outbox)

"""How messages end, through a real worker: Dramatiq's options keep their meaning, the group keeps its order."""

import threading
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage, TimeLimit
from dramatiq.results import ResultFailure

from lockstep.broker import LockstepBroker
from lockstep.claimed import ClaimedMessage
from lockstep.errors import InvalidOption, Permanent, RedisUnavailable
from lockstep.records import MessageRecord, NewMessage
from lockstep.states import GroupState, MessageState
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


def outcomes(record: MessageRecord) -> list[str]:
    return [attempt.outcome for attempt in record.attempts]


def test_a_failed_head_is_retried_before_anything_behind_it(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[int] = []

    @dramatiq.actor(group_by="{g}", max_attempts=4)
    def work(g: str, n: int) -> None:
        ran.append(n)
        if n == 0 and ran.count(0) < 4:
            raise ValueError("not yet")

    sent = [work.send(g="g", n=n) for n in range(5)]
    start()
    ended(sent[-1].message_id)
    assert ran == [0, 0, 0, 0, 1, 2, 3, 4]
    record = broker.store.message(sent[0].message_id)
    assert outcomes(record) == ["retry", "retry", "retry", "done"]
    assert record.attempts[0].error is not None
    assert record.attempts[0].error["type"] == "ValueError"
    gaps = [
        b.started_ms - (a.ended_ms or 0) for a, b in zip(record.attempts, record.attempts[1:], strict=False)
    ]
    assert all(50 <= gap < 1000 for gap in gaps)


def test_attempts_used_up_are_a_dead_letter_and_the_group_goes_on(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(group="g")
    def work(n: int) -> None:
        if n == 0:
            raise KeyError("x")

    first, second = work.send(0), work.send(1)
    start()
    assert ended(second.message_id).state is MessageState.DONE
    dead = broker.store.message(first.message_id)
    assert (dead.state, dead.reason, dead.sequence, dead.group) == (
        MessageState.DEAD,
        "attempts_exhausted",
        1,
        "g",
    )
    assert outcomes(dead) == ["retry", "retry", "dead"]


def test_on_dead_block_halts_the_group(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    @dramatiq.actor(group="g", max_attempts=1, on_dead="block")
    def work(n: int) -> None:
        raise KeyError("x")

    first, second = work.send(0), work.send(1)
    start()
    assert ended(first.message_id).state is MessageState.DEAD
    assert broker.store.message(second.message_id).state is MessageState.WAITING
    assert broker.store.counts("default").groups[GroupState.BLOCKED] == 1


@pytest.mark.parametrize(
    ("error", "options", "reason"),
    [
        (Permanent("no such account", code="gone"), {}, "gone"),
        (KeyError("x"), {"throws": KeyError}, "throws"),
        (KeyError("x"), {"retry_when": lambda retries, error: False}, "attempts_exhausted"),
        (KeyError("x"), {"max_retries": 0}, "attempts_exhausted"),
    ],
)
def test_what_is_never_retried(
    broker: LockstepBroker, start: Start, ended: Ended, error: Exception, options: dict[str, Any], reason: str
) -> None:
    @dramatiq.actor(**options)
    def work() -> None:
        raise error

    message = work.send()
    start()
    record = ended(message.message_id)
    assert (record.state, record.reason, len(record.attempts)) == (MessageState.DEAD, reason, 1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_attempts": "2"}, KeyError("x")),
        ({"max_retries": "2"}, KeyError("x")),
        ({"backoff": 7}, KeyError("x")),
        ({"min_backoff": "soon"}, KeyError("x")),
        ({}, dramatiq.Retry("again", delay=float("inf"))),  # type: ignore[arg-type]
        ({"store_results": True}, KeyError("\ud800")),
    ],
)
def test_a_broken_option_does_not_retry_without_end(
    broker: LockstepBroker, start: Start, ended: Ended, options: dict[str, Any], error: Exception
) -> None:
    @dramatiq.actor
    def work() -> None:
        raise error

    work.options.update(options)  # as a message of another release has them: no check saw it
    message = work.send()
    start()
    record = ended(message.message_id)
    assert record.reason == "attempts_exhausted"
    assert outcomes(record) == ["retry", "retry", "dead"]


def test_a_retry_when_that_raises_does_not_retry_without_end(start: Start, ended: Ended) -> None:
    def broken(retries: int, error: BaseException) -> bool:
        raise RuntimeError("broken")

    @dramatiq.actor(retry_when=broken)
    def work() -> None:
        raise KeyError("x")

    message = work.send()
    start()
    assert outcomes(ended(message.message_id)) == ["retry", "retry", "dead"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_attempts", "2"),
        ("max_retries", -1),
        ("backoff", "soon"),
        ("min_backoff", "1s"),
        ("throws", "KeyError"),
        ("on_dead", "blok"),
    ],
)
def test_an_actor_with_an_option_that_could_never_work_is_not_declared(
    broker: LockstepBroker, name: str, value: Any
) -> None:
    with pytest.raises(InvalidOption, match=f"work: {name}: "):
        dramatiq.actor(actor_name="work", **{name: value})(lambda: None)
    assert "work" not in broker.actors


@pytest.mark.parametrize("ttl", [0.5, 0, 10**30])
def test_a_result_is_kept_for_a_time_that_redis_takes(start: Start, ended: Ended, ttl: float) -> None:
    @dramatiq.actor(store_results=True, result_ttl=ttl)
    def work() -> int:
        return 1

    message = work.send()
    start()
    assert ended(message.message_id).state is MessageState.DONE


def test_an_error_that_cannot_be_printed_is_retried_and_remembered(start: Start, ended: Ended) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @dramatiq.actor
    def work() -> None:
        raise UnprintableError

    message = work.send()
    start()
    record = ended(message.message_id)
    assert [a.error["type"] for a in record.attempts if a.error] == ["UnprintableError"] * 3


def test_a_result_that_cannot_be_stored_is_a_failure(start: Start, ended: Ended) -> None:
    @dramatiq.actor(store_results=True, max_attempts=1)
    def work() -> object:
        return object()

    message = work.send()
    start()
    assert ended(message.message_id).state is MessageState.DEAD


def test_results_of_the_done_and_the_dead(start: Start, ended: Ended) -> None:
    @dramatiq.actor(store_results=True, max_attempts=1)
    def work(n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        return n + 1

    good, bad = work.send(1), work.send(-1)
    start()
    assert good.get_result(block=True) == 2
    ended(bad.message_id)
    with pytest.raises(ResultFailure, match="negative"):
        bad.get_result(block=True)


def test_async_actors_pipelines_and_the_current_message(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    seen: list[tuple[int, Any, int, int]] = []

    @dramatiq.actor(group="g", store_results=True)
    async def double(n: int) -> int:
        message: Any = CurrentMessage.get_current_message()
        seen.append((n, message.group, message.attempt, message.sequence))
        return 2 * n

    pipe = double.message(1) | double.message()
    pipe.run()
    start()
    assert pipe.get_result(block=True) == 4
    assert seen == [(1, "g", 1, 1), (2, "g", 1, 2)]


def test_fences_rise_within_a_group(start: Start, ended: Ended) -> None:
    fences: list[int] = []

    @dramatiq.actor(group="g")
    def work() -> None:
        message: Any = CurrentMessage.get_current_message()
        fences.append(message.fence)

    sent = [work.send() for _ in range(5)]
    start()
    ended(sent[-1].message_id)
    assert fences == sorted(set(fences))
    assert len(fences) == 5


def test_a_time_limit_interrupts_and_counts_as_a_failure(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    forever = threading.Event()
    # In a worker process, Dramatiq's master starts this watch.
    next(m for m in broker.middleware if isinstance(m, TimeLimit)).after_process_boot(broker)

    @dramatiq.actor(time_limit=100, max_attempts=1)
    def work() -> None:
        while not forever.wait(0.01):
            pass

    message = work.send()
    start()
    record = ended(message.message_id)
    assert record.attempts[0].error is not None
    assert record.attempts[0].error["type"] == "TimeLimitExceeded"


def test_a_message_past_its_age_is_dead(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    @dramatiq.actor(max_age=1)
    def work() -> None:
        raise AssertionError("must not run")

    message = work.message().copy()
    object.__setattr__(message, "message_timestamp", 1)
    broker.enqueue(message)
    start()
    assert ended(message.message_id).reason == "Message age limit exceeded"


def test_a_delayed_message_joins_when_it_is_due(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    ran: list[str] = []

    @dramatiq.actor(group="g")
    def work(name: str) -> None:
        ran.append(name)

    late = work.send_with_options(args=("late",), delay=2000)
    assert broker.store.message(late.message_id).state is MessageState.SCHEDULED
    start()
    work.send("early")
    record = ended(late.message_id)
    assert ran == ["early", "late"]
    assert record.attempts[0].started_ms - record.enqueued_ms >= 2000


def test_bytes_that_do_not_decode_are_dead_with_the_bytes(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(group="g")
    def work() -> None:
        pass

    raw = b"\xff\x00 not a message |||"
    broker.store.enqueue("default", [NewMessage(id="poison", actor="work", payload=raw, group="g")])
    behind = work.send()
    start()
    assert ended(behind.message_id).state is MessageState.DONE
    record = broker.store.message("poison")
    assert (record.state, record.reason, record.payload) == (MessageState.DEAD, "undecodable", raw)


def test_group_keys_are_any_text(start: Start, ended: Ended) -> None:
    ran: list[Any] = []

    @dramatiq.actor
    def work() -> None:
        message: Any = CurrentMessage.get_current_message()
        ran.append(message.group)

    keys = ["|||", "{a}", "m:1", "g:", " ", "\n", "*", "ü" * 256, "a:b:c", "-inf"]
    sent = [work.send_with_options(group=key) for key in keys]
    start()
    for message in sent:
        ended(message.message_id)
    assert sorted(ran) == sorted(keys)


def test_redis_away_is_a_connection_error_within_the_time_out() -> None:
    import time

    from lockstep.settings import Settings
    from middleware import make_broker

    broker = make_broker(Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"}, env_file=""))

    @dramatiq.actor(broker=broker)
    def work() -> None:
        pass

    began = time.monotonic()
    with pytest.raises(ConnectionError) as away:
        work.send()
    assert isinstance(away.value, RedisUnavailable)
    assert isinstance(away.value, dramatiq.errors.BrokerConnectionError)
    assert time.monotonic() - began < broker.settings.redis_timeout + 0.5


def test_nothing_is_left_after_a_drain(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    @dramatiq.actor(group_by="{g}")
    def work(g: str) -> None:
        pass

    def keys() -> set[bytes]:
        return {
            k
            for k in broker.store.command("KEYS", f"*{broker.settings.queue_namespace}*")
            if b"session" not in k
        }

    warm = work.send("warm")
    start()
    ended(warm.message_id)
    before = keys()
    sent = [work.send(f"group {n}") for n in range(200)]
    for message in sent:
        ended(message.message_id)
    assert keys() == before


def test_a_follow_up_that_a_lost_lease_forbids_leaves_the_thread_alive(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor
    def told(data: Any, error: Any) -> None:
        pass

    @dramatiq.actor(group="g", on_failure="told")
    def work(loses: bool) -> None:
        if loses:
            current = CurrentMessage.get_current_message()
            assert isinstance(current, ClaimedMessage)
            broker.held.remove(current)  # nobody renews it, nobody interrupts
            current.deadline = 0.0
            raise ValueError("after the end of its lease")

    worker = start()
    lost = work.send(loses=True)
    wait_for("it went back", lambda: broker.store.message(lost.message_id).attempts)
    assert ended(work.send_with_options(kwargs={"loses": False}, group="other").message_id)
    assert all(thread.is_alive() for thread in worker.workers)


def test_an_eta_inside_a_payload_keeps_nobody_waiting(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor
    def work() -> None:
        pass

    message = work.message_with_options(eta=9_999_999_999_999)
    new = NewMessage(id=message.message_id, actor="work", payload=message.encode(), group="g")
    broker.store.enqueue("default", [new])
    start()
    assert ended(message.message_id).state == MessageState.DONE


def test_priority_and_hold_place_come_from_the_message_else_from_its_actor(broker: LockstepBroker) -> None:
    @dramatiq.actor(queue_name="p", priority=4, group="held", hold_place=True)
    def held(n: int) -> None: ...

    @dramatiq.actor(queue_name="p", priority=-1)
    def plain(n: int) -> None: ...

    @dramatiq.actor(queue_name="p", priority=20)
    def later(n: int) -> None: ...

    ids = [
        *(plain.send(n).message_id for n in range(2)),
        plain.send_with_options(args=(2,), priority=9, hold_place=True).message_id,
        later.send(5).message_id,
        held.send_with_options(args=(3,), delay=60_000).message_id,
        held.send_with_options(args=(4,), delay=60_000, priority=0, hold_place=False).message_id,
    ]
    levels = [broker.store.command("LRANGE", broker.store.shards("p")[0].prefix + name, 0, -1)
              for name in ("ready", "ready:9", "ready:4")]  # fmt: skip
    first, lowest = ([f"m:{id_}".encode() for id_ in some] for some in (ids[:2], ids[2:4]))
    assert levels == [first, lowest, []]
    assert [broker.store.message(id_).state for id_ in ids[4:]] == ["backoff", "scheduled"]

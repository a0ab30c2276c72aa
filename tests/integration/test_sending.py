"""Sending from Python: repeats, the only one of its kind, and what is refused for now."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.errors import IdempotencyConflict, IntakeOff, InvalidMessage, InvalidOption, QueueFull
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.waiting import wait_for


@pytest.fixture
def sharded(settings: Settings) -> Iterator[LockstepBroker]:
    broker = make_broker(dataclasses.replace(settings, queue_shards=4))
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


def declare(broker: LockstepBroker, **options: Any) -> Any:
    @dramatiq.actor(broker=broker, queue_name="default", store_results=True, **options)
    def work(n: int = 0, m: int = 0) -> int:
        return n

    return work


def test_the_result_of_a_repeat_is_that_of_the_first(
    broker: LockstepBroker, start: Callable[[], Worker], ended: Callable[[str], MessageRecord]
) -> None:
    work = declare(broker)
    first = work.send_with_options(args=(7,), idempotency_key="k")
    start()
    again = work.send_with_options(args=(7,), idempotency_key="k")
    assert again.message_id == first.message_id
    assert again.get_result(block=True) == 7
    with pytest.raises(IdempotencyConflict) as caught:
        work.send_with_options(args=(8,), idempotency_key="k")
    assert caught.value.field == "/idempotency_key"


@pytest.mark.parametrize("group", [None, "g"])
def test_the_only_one_is_found_in_whatever_shard(sharded: LockstepBroker, group: str | None) -> None:
    work = declare(sharded, unique="until_finished", group=group)
    first = work.send(n=1)
    assert {work.send(n=1).message_id for _ in range(10)} == {first.message_id}
    others = {work.send(n=2).message_id, work.send_with_options(args=(1,), group="other").message_id}
    assert len(others | {first.message_id}) == 3
    worker = Worker(sharded, worker_threads=2, worker_timeout=100)
    worker.start()
    assert first.get_result(block=True) == 1
    wait_for("all are done", lambda: sharded.store.counts("default").messages[MessageState.DONE] == 3)
    worker.stop()
    assert work.send(n=1).message_id != first.message_id


def test_what_counts_as_the_same(broker: LockstepBroker) -> None:
    by_n = declare(broker, unique="until_started", unique_by=lambda n: f"n{n}")
    first = by_n.send(n=1, m=1)
    assert by_n.send(n=1, m=2).message_id == first.message_id
    assert by_n.send(n=2, m=1).message_id != first.message_id
    of_all = by_n.send_with_options(kwargs={"n": 1, "m": 2}, unique_by="{n}-{m}").message_id
    assert of_all != first.message_id
    with pytest.raises(InvalidMessage, match="/unique_by"):
        by_n.send_with_options(args=(1,), unique_by="{nothing}")
    with pytest.raises(InvalidOption, match="unique"):
        dramatiq.actor(broker=broker, actor_name="other", unique="sometimes")(print)


def test_a_message_object_may_be_submitted_again(broker: LockstepBroker) -> None:
    """What the first submit puts into its options does not make it another."""
    work = declare(broker, group_by="{n}", unique="until_started")
    message = work.message_with_options(args=(1,), message_id="own")
    first, again = broker.submit(message), broker.submit(message)
    assert (first.duplicate, again.replayed, again.id) == (False, True, "own")


def test_a_batch_over_shards_and_queues_is_refused_whole(sharded: LockstepBroker) -> None:
    work = declare(sharded)

    @dramatiq.actor(broker=sharded, queue_name="elsewhere")
    def other() -> None: ...

    work.send_with_options(args=(1,), idempotency_key="k")
    batch = [work.message(n) for n in range(20)] + [other.message()]
    clash = work.message_with_options(args=(2,), idempotency_key="k")
    with pytest.raises(IdempotencyConflict) as caught:
        sharded.enqueue_many([*batch, clash])
    assert caught.value.field == "/21/idempotency_key"
    assert sharded.store.counts("default").messages[MessageState.WAITING] == 1
    assert sharded.store.counts("elsewhere").messages[MessageState.WAITING] == 0


def test_a_running_actor_sends_while_the_intake_is_off_but_not_into_a_full_queue(
    settings: Settings,
    start: Callable[[], Worker],
    broker: LockstepBroker,
    ended: Callable[[str], MessageRecord],
) -> None:
    @dramatiq.actor(queue_name="small")
    def follow_up() -> None: ...

    @dramatiq.actor(max_attempts=2)
    def work() -> None:
        follow_up.send()

    broker.settings = broker.store.settings = dataclasses.replace(broker.settings, max_queue_length=1)
    ids = [work.send().message_id]
    broker.store.intake.switch(accept=False, why="night")
    with pytest.raises(IntakeOff, match="night"):
        work.send()
    broker.store.declare("small")
    broker.store.pause("small")
    start()
    assert ended(ids[0]).state is MessageState.DONE
    assert broker.store.counts("small").messages[MessageState.WAITING] == 1
    broker.store.intake.switch(accept=True)
    failed = ended(work.send().message_id)
    assert failed.state is MessageState.DEAD  # it had no room twice
    assert [attempt.error and attempt.error["type"] for attempt in failed.attempts] == ["QueueFull"] * 2
    with pytest.raises(QueueFull):
        follow_up.send()

"""Dead letters with a real worker: what is told of a death, what is kept, and for how long."""

import dataclasses
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.results import ResultFailure

from lockstep.broker import LockstepBroker
from lockstep.deadletters import DeadFilter, Redrive
from lockstep.errors import Permanent
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.burying import bury_all
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


def test_a_death_is_told_with_its_kind(
    broker: LockstepBroker, start: Start, ended: Ended, caplog: pytest.LogCaptureFixture
) -> None:
    @dramatiq.actor(max_attempts=1)
    def work(n: int) -> None:
        raise ValueError(f"no row {n}")

    messages = [work.send(n) for n in (17, 18)]
    start()
    records = [ended(message.message_id) for message in messages]
    (kind,) = broker.store.dead.summary()
    assert (kind.count, kind.error, kind.actor) == (2, "ValueError", "work")
    assert {record.death.fingerprint for record in records if record.death} == {kind.fingerprint}
    events: list[Any] = [line.msg for line in caplog.records if isinstance(line.msg, dict)]
    deaths = {one["message_id"]: one for one in events if one["event"] == "message.dead"}
    facts = {"actor": "work", "reason": "attempts_exhausted", "error": "ValueError", "level": "error"}
    assert deaths.keys() == {message.message_id for message in messages}
    for told in deaths.values():
        assert told.items() >= (facts | {"fingerprint": kind.fingerprint}).items()


def test_the_result_of_a_death_goes_with_its_redrive(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    closed = [True]

    @dramatiq.actor(store_results=True)
    def work() -> str:
        if closed:
            raise Permanent("closed")
        return "done"

    message = work.send()
    start()
    with pytest.raises(ResultFailure):
        message.get_result(block=True)
    closed.clear()
    assert broker.store.dead.redrive([message.message_id], Redrive()).changed == 1
    assert message.get_result(block=True) == "done"
    record = ended(message.message_id)
    assert [attempt.outcome for attempt in record.attempts] == ["dead", "done"]
    assert (record.redriven, record.reason, record.death) == (1, None, None)


def test_at_a_rate_they_run_one_after_the_other(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    @dramatiq.actor(group="g")
    def work() -> None:
        pass

    messages = [work.send() for _ in range(5)]
    assert bury_all(broker.store, "default") == 5
    asked_ms = broker.store.schedules.listing().now_ms
    broker.store.dead.redrive(DeadFilter(), Redrive(interval_ms=150))
    start()
    records = [ended(message.message_id) for message in messages]
    started = [record.attempts[-1].started_ms for record in records]
    assert started == sorted(started)
    assert all(at >= asked_ms + 150 * nth for nth, at in enumerate(started))
    sequences = [record.sequence or 0 for record in records]
    assert sequences == sorted(sequences)


@pytest.mark.parametrize(("age", "left"), [(0.0, 2), (0.05, 0)])
def test_dead_letters_are_kept_for_their_time(settings: Settings, age: float, left: int) -> None:
    store = Store.connect(dataclasses.replace(settings, retention_dead_age=age))
    broker = LockstepBroker(settings, store=store, middleware=[])

    @dramatiq.actor(broker=broker, queue_name="default")
    def work() -> None:
        pass

    for _ in range(2):
        work.send()
    assert bury_all(store, "default") == 2

    def reaped() -> bool:
        store.reap(store.shards("default")[0])
        return len(store.dead.page(DeadFilter()).items) == left

    wait_for("they are gone, or stay", reaped)
    assert sum(kind.count for kind in store.dead.summary()) == left
    broker.close()

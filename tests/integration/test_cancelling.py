"""Cancelled messages, with a real worker: what runs ends first, and its group waits for that."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage

from lockstep.broker import LockstepBroker
from lockstep.errors import Cancelled, NotFound, WrongState
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    """One whose lease is so long that no renewal tells of a cancel within a test."""
    quick = dataclasses.replace(settings, lease_seconds=60.0, reap_seconds=0.2, cancel_grace=0.5)
    broker = make_broker(quick)
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


def test_a_running_one_that_looks_ends_early_and_the_next_one_follows(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    events: list[str] = []

    @dramatiq.actor(group="g")
    def work(n: int) -> None:
        events.append(f"start {n}")
        message: Any = CurrentMessage.get_current_message()
        while n == 0 and not message.cancel_requested:
            time.sleep(0.005)
        events.append(f"end {n}")
        if n == 0:
            raise RuntimeError("told to end")

    first, second = work.send(0), work.send(1)
    start()
    wait_for("it runs", lambda: events)
    asked = broker.store.switches.cancel(first.message_id)
    assert (asked.state, asked.cancel_requested, asked.changed) == (MessageState.RUNNING, True, True)
    record = ended(first.message_id)
    assert record.state is MessageState.CANCELLED
    assert [attempt.outcome for attempt in record.attempts] == ["cancelled"]
    assert ended(second.message_id).state is MessageState.DONE
    assert events == ["start 0", "end 0", "start 1", "end 1"]
    again = broker.store.switches.cancel(first.message_id)
    assert (again.state, again.changed) == (MessageState.CANCELLED, False)
    stats = broker.store.counts("default").stats
    assert (stats["attempts|work|cancelled"], stats["cancelled|work"]) == (1, 1)
    assert stats.get("attempts|work|retry", 0) == 0


def test_one_that_returns_is_done_whatever_was_asked(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    running = threading.Event()

    @dramatiq.actor
    def work() -> None:
        running.set()
        message: Any = CurrentMessage.get_current_message()
        while not message.cancel_requested:
            time.sleep(0.005)

    sent = work.send()
    start()
    assert running.wait(PATIENCE)
    broker.store.switches.cancel(sent.message_id)
    assert ended(sent.message_id).state is MessageState.DONE
    with pytest.raises(WrongState) as refused:
        broker.store.switches.cancel(sent.message_id)
    assert (refused.value.message_id, refused.value.state) == (sent.message_id, "done")


def test_one_that_does_not_look_is_interrupted_after_its_grace(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    seen: list[float] = []

    @dramatiq.actor(group="g")
    def work(n: int) -> None:
        message: Any = CurrentMessage.get_current_message()
        try:
            while n == 0:
                time.sleep(0.005)
        except Cancelled:
            seen.append(time.monotonic() - message.cancel_asked_at)
            raise

    first, second = work.send(0), work.send(1)
    start()
    wait_for("it runs", lambda: broker.store.message(first.message_id).state is MessageState.RUNNING)
    broker.store.switches.cancel(first.message_id)
    assert ended(first.message_id).state is MessageState.CANCELLED
    assert ended(second.message_id).state is MessageState.DONE
    assert 0.5 <= seen[0] < 5


def test_one_that_was_claimed_but_has_not_started_never_does(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[int] = []
    go = threading.Event()

    @dramatiq.actor
    def work(n: int) -> None:
        ran.append(n)
        go.wait(PATIENCE)

    sent = [work.send(n) for n in range(6)]  # four threads
    start()
    wait_for("the threads are busy", lambda: len(ran) == 4)
    others = [one for one in sent if one.kwargs.get("n", one.args[0]) not in ran]
    for message in others:
        broker.store.switches.cancel(message.message_id)
    for message in others:
        held = {one.message_id: one for one in broker.held.all()}
        if message.message_id in held:
            wait_for(
                "it is told", lambda held=held, message=message: held[message.message_id].cancel_requested
            )
    go.set()
    for message in others:
        assert ended(message.message_id).state is MessageState.CANCELLED
    assert len(ran) == 4


def test_one_that_waits_or_is_scheduled_is_cancelled_at_once(broker: LockstepBroker) -> None:
    @dramatiq.actor(group="g")
    def work() -> None:
        pass

    for sent in (work.send(), work.send_with_options(delay=60_000)):
        assert broker.store.switches.cancel(sent.message_id).state is MessageState.CANCELLED
        assert broker.store.message(sent.message_id).state is MessageState.CANCELLED


def test_an_unknown_id_is_not_found(broker: LockstepBroker) -> None:
    with pytest.raises(NotFound):
        broker.store.switches.cancel("nosuch")

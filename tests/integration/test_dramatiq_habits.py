"""What Dramatiq's users do and expect: each is the same here, or refused with the way to do it."""

import math
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq import Message, Worker
from dramatiq.middleware import CurrentMessage

from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidMessage, UnknownActor
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from middleware import make_broker

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


def test_milliseconds_may_be_any_number(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    ran: list[Any] = []

    @dramatiq.actor(time_limit=60_000.0, min_backoff=1.5, max_backoff=20.5, max_age=60_000.5)
    def work(how: str) -> None:
        ran.append(how)
        if ran.count(how) == 1:
            raise ValueError("once more")

    start()
    now = broker.store.now_ms()
    sent = [
        work.send_with_options(args=("delay",), delay=1.5),
        work.send_with_options(args=("timedelta",), delay=timedelta(milliseconds=3)),
        work.send_with_options(args=("eta",), eta=now + 1.5),
        work.send_with_options(args=("limit",), time_limit=30_000.5, max_age=99_999.9, min_backoff=2.5),
        broker.enqueue(work.message("enqueue"), delay=0.1),
        broker.enqueue(Message("default", "work", ("made",), {}, {}, message_timestamp=now + 0.25)),  # type: ignore[arg-type]
        broker.enqueue(work.message_with_options(args=("option",), delay=1.5)),
    ]
    steps = [work.message_with_options(args=(name,), delay=0.5, pipe_ignore=True) for name in ("one", "two")]
    sent += dramatiq.pipeline(steps).run(delay=1.5).messages
    sent += dramatiq.group([work.message("group")]).run(delay=0.5).children
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE
    assert len(ran) == 2 * len(sent)
    for bad in (float("nan"), float("inf"), -1.5, "1", True):
        with pytest.raises(InvalidMessage) as caught:
            work.send_with_options(args=("bad",), delay=bad)
        assert caught.value.field == "/delay_ms"
    for bad in ("yesterday", None, -1):
        with pytest.raises(InvalidMessage) as caught:
            broker.enqueue(Message("default", "work", ("bad",), {}, {}, message_timestamp=bad))  # type: ignore[arg-type]
        assert caught.value.field == "/message_timestamp"


def test_retries_may_be_any_number(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    ran: Counter[str] = Counter()
    told: list[Any] = []

    @dramatiq.actor(max_retries=3.0, on_retry_exhausted="tell")
    def work(how: str) -> None:
        ran[how] += 1
        if how != "inf" or ran[how] < 12:
            raise dramatiq.Retry(delay=0.5)

    @dramatiq.actor
    def tell(data: Any, retries: Any) -> None:
        told.append(retries)

    @dramatiq.actor(max_retries=math.inf, min_backoff=0)
    def endless() -> None:
        ran["endless"] += 1
        if ran["endless"] < 12:
            raise ValueError("once more")

    start()
    sent = [work.send("actor"), work.send_with_options(args=("message",), max_retries=1.0)]
    for message in sent:
        assert ended(message.message_id).state is MessageState.DEAD
    for message in (work.send_with_options(args=("inf",), max_retries=math.inf), endless.send()):
        assert ended(message.message_id).state is MessageState.DONE
    broker.join("default", timeout=300_000)
    assert ran == {"actor": 4, "message": 2, "inf": 12, "endless": 12}
    assert {"retries": 3, "max_retries": 3} in told
    for bad in (-1.0, 1.5, math.nan, "1", True):
        with pytest.raises(InvalidMessage) as caught:
            work.send_with_options(args=("bad",), max_retries=bad)
        assert caught.value.field == "/max_retries"


def test_a_message_that_its_own_actor_sends_again_is_refused_with_the_way_to_do_it(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    """Dramatiq would run it again under the same id, of which there is one record here."""
    errors: list[InvalidMessage] = []

    @dramatiq.actor(max_attempts=1)
    def work(again: bool) -> None:
        current: Any = CurrentMessage.get_current_message()
        if not again:
            return
        for send in (
            lambda: broker.enqueue(current),
            lambda: broker.enqueue(current.copy(), delay=10),
            lambda: work.send_with_options(args=(False,), message_id=current.message_id),
            lambda: broker.enqueue_many([work.message(False), current]),
        ):
            with pytest.raises(InvalidMessage) as caught:
                send()
            errors.append(caught.value)
        copies.append(broker.enqueue(work.message(False)).message_id)
        copies.append(broker.enqueue(current.copy(message_id="again", args=(False,)), delay=1).message_id)

    copies: list[str] = []
    start()
    message = work.send(True)
    assert ended(message.message_id).state is MessageState.DONE
    assert [error.field for error in errors] == ["/id", "/id", "/id", "/1/id"]
    assert all("dramatiq.Retry" in error.problem for error in errors)
    for copy in copies:
        assert ended(copy).state is MessageState.DONE


def test_a_retry_runs_the_same_message_again_with_the_options_that_it_was_sent_with(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    """A change of its options during an attempt is not stored: Dramatiq would send the changed message again."""
    seen: list[Any] = []

    @dramatiq.actor(max_attempts=3)
    def work() -> None:
        current: Any = CurrentMessage.get_current_message()
        seen.append((current.message_id, current.options.get("seen")))
        current.options["seen"] = True
        if len(seen) < 3:
            raise dramatiq.Retry(delay=1)

    start()
    message = work.send()
    assert ended(message.message_id).state is MessageState.DONE
    assert seen == [(message.message_id, None)] * 3


def test_a_class_based_actor_has_keys_and_arguments_that_are_checked(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[tuple[str, int]] = []

    class Work(dramatiq.GenericActor):
        class Meta:
            group_by = "{shop}"
            validate = staticmethod(lambda cents: None if cents > 0 else 1 / 0)

        def perform(self, shop: str, cents: int = 1) -> None:
            ran.append((shop, cents))

    work: Any = Work
    start()
    sent = [work.send("a"), work.send("a", 2), work.send(shop="a", cents=3)]
    for message in sent:
        record = ended(message.message_id)
        assert (record.state, record.group) == (MessageState.DONE, "a")
    assert ran == [("a", 1), ("a", 2), ("a", 3)]
    for wrong in (work.send, lambda: work.send("a", 1, 2), lambda: work.send("a", -1)):
        with pytest.raises(InvalidMessage):
            wrong()


def test_a_test_that_emits_process_boot_has_time_limits_and_keeps_its_process(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    broker.emit_after("process_boot")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    assert (
        not broker.owns_process
    )  # a broken worker must not end the tests, nor one that stops ignore signals

    @dramatiq.actor(time_limit=50, max_attempts=1)
    def work() -> None:
        while True:
            time.sleep(0.01)

    start()
    death = ended(work.send().message_id).death
    assert death is not None
    assert "TimeLimitExceeded" in str(death)


def test_a_sender_that_does_not_know_the_actor_is_told_what_is_missing(broker: LockstepBroker) -> None:
    """Without the actor its group is not known, and a message outside of its group would break the order."""
    with pytest.raises(UnknownActor, match="declare it") as caught:
        broker.enqueue(Message("default", "elsewhere", (1,), {}, {}))
    assert caught.value.field == "/actor"


def test_a_message_made_by_hand_names_a_queue_that_there_can_be(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor
    def work() -> None: ...

    for name in ("", "x y", "a:b", "{a}", "é", "1a", "x" * 300, 5, None, b"default", ["default"]):
        with pytest.raises(InvalidMessage) as caught:
            broker.enqueue(Message(name, "work", (), {}, {}))  # type: ignore[arg-type]
        assert caught.value.field == "/queue"
    assert broker.store.queues() == []
    start()
    for name in ("default.DQ", "default.XQ"):  # as messages are that Dramatiq's own brokers delayed
        message = broker.enqueue(Message(name, "work", (), {}, {}))
        assert message.queue_name == "default"
        assert ended(message.message_id).state is MessageState.DONE
    assert broker.enqueue(Message("other", "work", (), {}, {})).queue_name == "other"


def test_a_sender_may_declare_an_actor_that_runs_elsewhere(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[str] = []

    @dramatiq.actor(actor_name="elsewhere", group_by="{name}")
    def runs(name: str) -> None:
        ran.append(name)

    sender = make_broker(broker.settings)

    @dramatiq.actor(broker=sender, actor_name="elsewhere", group_by="{name}")
    def declared(name: str) -> None:
        raise NotImplementedError

    message = declared.send("a")
    sender.close()
    start()
    record = ended(message.message_id)
    assert (record.state, record.group, ran) == (MessageState.DONE, "a", ["a"])

"""What ``before_enqueue`` hooks of other middleware change is what is stored, and what the actor gets."""

from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Message, Worker, group, pipeline
from dramatiq.middleware import CurrentMessage, Middleware, MiddlewareError

from lockstep.broker import LockstepBroker
from lockstep.errors import IdempotencyConflict, InvalidMessage, PayloadTooLarge, UnknownActor
from lockstep.records import MessageRecord
from lockstep.states import MessageState

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


class Hook(Middleware):
    """Calls what a test gives it, and notes each call."""

    actor_options = {"trace"}  # noqa: RUF012

    def __init__(self) -> None:
        self.change: Callable[[Message[Any]], None] = lambda message: None
        self.before: list[tuple[str, int | None]] = []
        self.after: list[tuple[str, int | None]] = []

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        self.before.append((message.message_id, delay))
        self.change(message)

    def after_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        self.after.append((message.message_id, delay))


@pytest.fixture
def hook(broker: LockstepBroker) -> Hook:
    hook = Hook()
    broker.add_middleware(hook)
    return hook


@pytest.fixture
def traces(broker: LockstepBroker, hook: Hook) -> Iterator[list[tuple[str, Any]]]:
    """What the actor ``work`` sees of the option ``trace``."""
    seen: list[tuple[str, Any]] = []

    @dramatiq.actor(actor_name="work", group_by="{g}")
    def work(g: str, previous: object = None) -> str:
        current: Any = CurrentMessage.get_current_message()
        seen.append((g, current.options.get("trace")))
        return g

    numbers = iter(range(100))
    hook.change = lambda message: message.options.update(trace={"parent": f"span-{next(numbers)}"})
    yield seen


def test_an_option_that_a_hook_adds_reaches_the_actor_however_it_was_sent(
    broker: LockstepBroker, hook: Hook, traces: list[tuple[str, Any]], start: Start, ended: Ended
) -> None:
    work = broker.get_actor("work")
    start()
    sent = [
        work.send("plain"),
        work.send_with_options(args=("delayed",), delay=10),
        broker.enqueue(work.message("enqueued"), delay=10),
    ]
    sent += [work.message(f"batch-{number}") for number in range(3)]
    broker.enqueue_many(sent[3:])
    ids = [message.message_id for message in sent]
    ids.append(broker.submit(work.message("submitted")).id)
    members = group([work.message("member")])
    members.run()
    ids += [child.message_id for child in members.children]
    steps = pipeline([work.message("first"), work.message("second")])
    steps.run()
    ids += [message.message_id for message in steps.messages]
    for message_id in ids:
        assert ended(message_id).state is MessageState.DONE
    assert len(traces) == len(ids)
    assert all(trace and trace["parent"].startswith("span-") for _, trace in traces), traces
    assert len({trace["parent"] for _, trace in traces}) == len(traces)  # each was hooked once
    assert len(hook.before) == len(hook.after) == len(ids)


def test_hooks_get_the_final_id_and_the_delay_as_in_dramatiq(
    broker: LockstepBroker, hook: Hook, traces: list[tuple[str, Any]]
) -> None:
    work = broker.get_actor("work")
    work.send_with_options(args=("a",), message_id="mine")
    work.send_with_options(args=("a",), message_id="late", delay=60_000)
    broker.enqueue(work.message_with_options(args=("a",), message_id="later"), delay=70_000)
    work.send_with_options(args=("a",), message_id="at-once", delay=0)  # which is given, as any other number
    broker.enqueue(work.message_with_options(args=("a",), message_id="soon", delay=1.5))
    told = [("mine", None), ("late", 60_000), ("later", 70_000), ("at-once", 0), ("soon", 2)]
    assert hook.before == hook.after == told


def test_arguments_and_group_that_a_hook_changes_are_what_is_stored(
    broker: LockstepBroker, hook: Hook, start: Start, ended: Ended
) -> None:
    seen: list[Any] = []

    @dramatiq.actor(group_by="{g}")
    def work(g: str) -> None:
        current: Any = CurrentMessage.get_current_message()
        seen.append((g, current.group))

    hook.change = lambda message: message.kwargs.update(g=message.kwargs["g"].upper())
    sent = work.message(g="one")
    first = broker.enqueue(sent)
    assert sent.kwargs == {"g": "one"}  # the sender's message is its own
    assert first.kwargs == {"g": "ONE"}
    hook.change = lambda message: message.options.update(group="other")
    second = work.send(g="two")
    start()
    assert ended(first.message_id).group == "ONE"
    assert ended(second.message_id).group == "other"
    assert sorted(seen) == [("ONE", "ONE"), ("two", "other")]


def test_what_a_hook_makes_of_a_message_is_checked(
    broker: LockstepBroker, hook: Hook, traces: list[tuple[str, Any]]
) -> None:
    work = broker.get_actor("work")

    def refused(change: Callable[[Message[Any]], None], error: type[InvalidMessage], field: str) -> None:
        hook.change = change
        with pytest.raises(error) as caught:
            work.send(g="a")
        assert caught.value.field == field

    refused(lambda m: m.kwargs.update(g=object()), InvalidMessage, "/kwargs/g")
    refused(lambda m: m.kwargs.update(no=1), InvalidMessage, "/kwargs/no")
    refused(lambda m: m.options.update(group=""), InvalidMessage, "/group")
    refused(lambda m: m.options.update(trace=object()), InvalidMessage, "/trace")
    refused(lambda m: m.options.update(trace="x" * 300_000), PayloadTooLarge, "")
    assert not broker.store.queues() or broker.store.counts("default").messages[MessageState.WAITING] == 0
    assert hook.after == []


def test_a_hook_that_fails_adds_nothing_and_one_that_refuses_stops_the_whole_batch(
    broker: LockstepBroker, hook: Hook, traces: list[tuple[str, Any]]
) -> None:
    work = broker.get_actor("work")

    def fails(message: Message[Any]) -> None:
        raise ValueError("no tracer")

    hook.change = fails
    accepted = broker.submit(work.message("a"))  # as in Dramatiq: logged, not fatal
    assert broker.store.message(accepted.id).state is MessageState.WAITING

    def refuses(message: Message[Any]) -> None:
        if message.args == ("third",):
            raise MiddlewareError("not this one")

    hook.change = refuses
    with pytest.raises(MiddlewareError, match="not this one"):
        broker.enqueue_many([work.message("first"), work.message("second"), work.message("third")])
    assert broker.store.counts("default").messages[MessageState.WAITING] == 1


def test_a_repeat_is_known_although_each_copy_is_traced_anew(
    broker: LockstepBroker, hook: Hook, traces: list[tuple[str, Any]]
) -> None:
    work = broker.get_actor("work")

    def send(g: str, **options: Any) -> Any:
        return broker.submit(work.message_with_options(args=(g,), **options))

    for options in ({"idempotency_key": "k"}, {"message_id": "m"}):
        assert not send("a", **options).duplicate
        assert send("a", **options).duplicate
        with pytest.raises(IdempotencyConflict):
            send("b", **options)
    batch = [work.message("a"), work.message("b")]
    first = broker.enqueue_many(batch, idempotency_key="batch")
    again = broker.enqueue_many([work.message("a"), work.message("b")], idempotency_key="batch")
    assert [one.id for one in again] == [one.id for one in first]


def test_a_message_that_is_sent_again_does_not_carry_the_first_trace(
    broker: LockstepBroker, hook: Hook, traces: list[tuple[str, Any]]
) -> None:
    message = broker.get_actor("work").message("a")
    assert broker.enqueue(message).options["trace"] == {"parent": "span-0"}
    assert message.options == {}


def test_hooks_never_see_a_message_of_an_unknown_actor(broker: LockstepBroker, hook: Hook) -> None:
    with pytest.raises(UnknownActor):
        broker.enqueue(Message("default", "nobody", (), {}, {}))
    assert hook.before == []

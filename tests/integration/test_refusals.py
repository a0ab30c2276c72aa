"""What Python's ``send`` refuses: the same as HTTP, with the field, and nothing is written."""

import time
from typing import Any, NamedTuple

import dramatiq
import pytest
from dramatiq.encoder import PickleEncoder

from lockstep.broker import LockstepBroker
from lockstep.checks import MAX_BATCH, MAX_DELAY_MS
from lockstep.errors import InvalidMessage, PayloadTooLarge, UnknownActor
from lockstep.states import MessageState


def nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


def refused(broker: LockstepBroker, actor: Any, **sent: Any) -> str:
    """The field of the refusal of each way to send; nothing is written."""
    fields = set()
    message = actor.message_with_options(**sent)
    for send in (
        lambda: actor.send_with_options(**sent),
        lambda: broker.submit(message),
        lambda: broker.enqueue_many([message]),
    ):
        with pytest.raises(InvalidMessage) as caught:
            send()
        fields.add(caught.value.field.removeprefix("/0"))
    assert broker.store.queues() == []
    (field,) = fields
    return str(field)


NAN, INF = float("nan"), float("inf")
TOO_LATE = time.time() * 1000 + MAX_DELAY_MS + 3_600_000


@pytest.mark.parametrize(
    ("kwargs", "options", "field"),
    [
        ({"n": 1, "m": 2}, {}, "/kwargs/m"),
        ({"n": 1, "x/y": 2}, {}, "/kwargs/x~1y"),
        ({"n": 1, 7: 2}, {}, "/kwargs"),
        ({}, {}, "/kwargs/n"),
        ([("n", 1)], {}, "/kwargs"),
        ({"n": {1, 2}}, {}, "/kwargs/n"),
        ({"n": [1, {"deep": (2**64,)}]}, {}, "/kwargs/n/1/deep/0"),
        ({"n": 2**70}, {}, "/kwargs/n"),
        ({"n": -(2**63) - 1}, {}, "/kwargs/n"),
        ({"n": NAN}, {}, "/kwargs/n"),
        ({"n": [None, {"a": (-INF,)}]}, {}, "/kwargs/n/1/a/0"),
        ({"n": "\ud800"}, {}, "/kwargs/n"),
        ({"n": {"\ud800": 1}}, {}, "/kwargs/n"),
        ({"n": nested(600)}, {}, "/kwargs/n" + "/0" * 31),
        *(({"n": 1}, {"group": bad}, "/group") for bad in ("", "x" * 257, "\ud800", 7)),
        *(({"n": 1}, {"group_by": bad}, "/group") for bad in ("{m}", "{n.a}", "{", 7, lambda m: "g")),
        *(({"n": 1}, {"message_id": bad}, "/id") for bad in ("a\nb", "\x85", "", "i" * 129, None, 7)),
        *(({"n": 1}, {"delay": bad}, "/delay_ms") for bad in (-1, True, -1.5, "1", MAX_DELAY_MS + 1)),
        *(({"n": 1}, {"eta": bad}, "/eta") for bad in (INF, -INF, NAN, -1, True, "1", TOO_LATE, 10**400)),
        *(({"n": 1}, {"max_attempts": bad}, "/max_attempts") for bad in ("2", 0, 1001, 1.5, True, None)),
        *(({"n": 1}, {"max_retries": bad}, "/max_retries") for bad in ("2", -1, 1.5, True)),
        *(({"n": 1}, {"backoff": bad}, "/backoff") for bad in ("soon", 7, {"kind": "fixed"})),
        *(
            ({"n": 1}, {name: bad}, f"/{name}")
            for name in ("min_backoff", "max_backoff", "time_limit", "max_age", "result_ttl")
            for bad in ("1s", -1, NAN, -INF, True)
        ),
        *(({"n": 1}, {name: INF}, f"/{name}") for name in ("min_backoff", "max_backoff", "result_ttl")),
        *(({"n": 1}, {name: 0}, f"/{name}") for name in ("time_limit", "max_age")),
        *(({"n": 1}, {"on_dead": bad}, "/on_dead") for bad in ("blok", None, ["block"])),
        *(
            ({"n": 1}, {name: 1}, f"/{name}")
            for name in ("hold_place", "idempotency_key", "unique", "depends_on")
        ),
        *(({"n": 1}, {"priority": bad}, "/priority") for bad in (-1, 10, 1.5, "1", True, None)),
        *(({"n": 1}, {"throws": bad}, "/throws") for bad in ("KeyError", KeyError, ["x"], int)),
        ({"n": 1}, {"other": NAN}, "/other"),
        ({"n": 1}, {"abortable": {"a": 2**70}}, "/abortable/a"),
    ],
)
def test_what_is_wrong_is_pointed_at(
    broker: LockstepBroker, kwargs: Any, options: dict[str, Any], field: str
) -> None:
    broker.actor_options.add("abortable")  # as a middleware does

    @dramatiq.actor
    def work(n: Any) -> None:
        pass

    assert refused(broker, work, kwargs=kwargs, **options) == field


@pytest.mark.parametrize(
    ("args", "kwargs", "field"),
    [
        ((), {}, "/args"),
        ((1,), {}, "/kwargs/body"),
        ((1, 2, 3), {}, "/args"),
        ((1, 2), {"body": 3}, "/kwargs/body"),
        ((), {"first": 1, "body": 2}, "/kwargs/first"),
        ((1, [2**64]), {}, "/args/1/0"),
    ],
)
def test_arguments_fit_their_actor(
    broker: LockstepBroker, args: Any, kwargs: dict[str, Any], field: str
) -> None:
    @dramatiq.actor
    async def work(first: int, /, body: Any) -> None:
        pass

    assert refused(broker, work, args=args, kwargs=kwargs) == field


class Point(NamedTuple):
    x: int
    y: float


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eta": time.time() * 1000},
        {"max_retries": None},
        {"backoff": "list:0s,1s", "on_dead": "block", "max_attempts": 1000},
        {"min_backoff": 10, "max_backoff": 100.5, "time_limit": 1000, "max_age": None, "result_ttl": 10},
        {"abortable": {"a": [None]}},
        {"time_limit": INF, "max_age": INF, "result_ttl": None, "delay": None, "group": None},
    ],
)
def test_what_is_right_is_accepted(broker: LockstepBroker, options: dict[str, Any]) -> None:
    broker.actor_options.add("abortable")  # as a middleware does

    @dramatiq.actor
    def work(n: Any) -> None:
        pass

    value = {"a": None, "b": ["null", 2**64 - 1, -(2**63), 1e308, True], "c": Point(1, 2.5)}
    message = work.send_with_options(args=(value,), **options)
    assert broker.store.message(message.message_id).state in {MessageState.WAITING, MessageState.SCHEDULED}
    stored = broker.encoder.decode(broker.store.message(message.message_id).payload)
    assert stored["args"] == [{**value, "c": [1, 2.5]}]


def test_an_encoder_that_keeps_more_may_be_given_more(broker: LockstepBroker) -> None:
    @dramatiq.actor
    def work(n: Any) -> None:
        pass

    former = dramatiq.get_encoder()
    dramatiq.set_encoder(PickleEncoder())
    try:
        work.send(2**70)
        with pytest.raises(InvalidMessage) as caught:
            work.send([lambda: None])
    finally:
        dramatiq.set_encoder(former)
    assert caught.value.field == "/args/0/0"


def test_too_large_and_unknown_are_refused(broker: LockstepBroker) -> None:
    @dramatiq.actor
    def work(text: str) -> None:
        pass

    with pytest.raises(PayloadTooLarge):
        work.send("x" * broker.settings.max_payload_bytes)
    message = work.message("x").copy(actor_name="nobody")
    with pytest.raises(UnknownActor):
        broker.enqueue(message)


def test_more_than_one_call_takes_are_refused(broker: LockstepBroker) -> None:
    @dramatiq.actor
    def work() -> None:
        pass

    with pytest.raises(InvalidMessage, match="at most 1000 messages, got 1001"):
        broker.enqueue_many([work.message() for _ in range(MAX_BATCH + 1)])
    assert broker.store.queues() == []
    assert len(broker.enqueue_many([work.message() for _ in range(MAX_BATCH)])) == MAX_BATCH


def test_a_function_groups_by_the_arguments_that_it_names(broker: LockstepBroker) -> None:
    @dramatiq.actor(group_by=lambda instance_id, customer_id: f"{instance_id}/{customer_id}")
    def some(instance_id: str, customer_id: str = "c", *, body: str = "") -> None:
        pass

    @dramatiq.actor(group_by=lambda **all_of: ",".join(f"{name}={all_of[name]}" for name in sorted(all_of)))
    def every(a: int, /, b: int = 2, *rest: int, c: int = 3) -> None:
        pass

    def broken(**_: Any) -> str:
        raise RuntimeError("broken")

    assert group(broker, some.message("i", body="x")) == "i/c"
    assert group(broker, some.message(customer_id="k", instance_id="i")) == "i/k"
    assert group(broker, every.message(1)) == "a=1,b=2,c=3,rest=()"
    assert group(broker, every.message(1, 5, 6, 7, c=8)) == "a=1,b=5,c=8,rest=(6, 7)"
    for bad in (broken, lambda nobody: "g", lambda instance_id: None, lambda instance_id: ""):
        with pytest.raises(InvalidMessage) as caught:
            broker.submit(some.message_with_options(args=("i",), group_by=bad))
        assert caught.value.field == "/group"


def test_only_what_keyword_arguments_take_is_flattened(broker: LockstepBroker) -> None:
    @dramatiq.actor(group_by="{tenant}")
    def plain(tenant: str, extra: Any = None) -> None:
        pass

    @dramatiq.actor(group_by="{tenant}:{channel}")
    def open_(tenant: str, /, **more: Any) -> None:
        pass

    assert group(broker, plain.message("a")) == "a"
    assert group(broker, plain.message("a", extra={"tenant": "b"})) == "a"
    assert group(broker, open_.message("a", channel="sms")) == "a:sms"
    assert group(broker, open_.message("a", channel="sms", tenant="b")) == "a:sms"


def group(broker: LockstepBroker, message: Any) -> str | None:
    return broker.store.message(broker.submit(message).id).group


def test_an_actor_validates_its_arguments(broker: LockstepBroker) -> None:
    def check(to: Any, **others: Any) -> None:
        if to == "raw":
            raise ValueError("not raw")
        if not to.startswith("+"):
            raise InvalidMessage("/kwargs/to", "expected a +")
        if "id" in others:
            raise InvalidMessage("/kwargs/id", "taken")

    @dramatiq.actor(validate=check)
    def work(to: str, body: str = "", **more: Any) -> None:
        pass

    assert refused(broker, work, kwargs={"to": "1"}) == "/kwargs/to"
    assert refused(broker, work, args=("1",)) == "/args/0"
    assert refused(broker, work, args=("+1", "b"), kwargs={"id": 1}) == "/kwargs/id"
    assert refused(broker, work, args=("raw",)) == "/kwargs"
    assert refused(broker, work, args=(7,)) == "/kwargs"
    work.send("+1", channel="sms")


def test_an_actor_may_have_no_time_limit(broker: LockstepBroker) -> None:
    @dramatiq.actor(time_limit=INF, max_age=None)
    def work() -> None:
        pass

    assert broker.get_actor("work") is work

"""One customer is one group, however a message is sent; and what an encoder would change is refused."""

import dataclasses
import enum
import math
import pickle
import uuid
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, NamedTuple

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.encoder import Encoder, JSONEncoder, PickleEncoder

from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidMessage, InvalidOption
from lockstep.requests import parse_request
from lockstep.states import MessageState
from tests.support.waiting import wait_for


class Shop(str, enum.Enum):  # noqa: UP042  (as people write it)
    A = "shop-a"


class Number(enum.IntEnum):
    ONE = 1


class Shouting(str):
    def __format__(self, spec: str) -> str:
        return self.upper()

    __str__ = str.upper


class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass
class Data:
    a: int = 1


CHANGED: list[Any] = [
    *(Shop.A, Number.ONE, Shouting("shop-a"), Data(), uuid.uuid4(), datetime(2026, 1, 1), date(2026, 1, 1)),
    *({1: "a", "1": "b"}, {1: 2}, [Shop.A], (Shop.A,), {"a": {"b": [Number.ONE]}}, Pair(1, Shop.A)),
    *(b"x", {1}, math.nan, 2**64),
]
BY_SHOP: list[Any] = ["{shop}", lambda shop: f"{shop}", lambda **given: f"{given['shop']}"]


def declared(broker: LockstepBroker, **options: Any) -> Any:
    def work(shop: Any = "shop-a", n: int = 0, *rest: Any, **more: Any) -> Any:
        return shop

    return dramatiq.actor(broker=broker, actor_name=f"work-{len(broker.actors)}", **options)(work)


def group_of(broker: LockstepBroker, message: Any) -> str | None:
    return broker.store.message(broker.submit(message).id).group


@pytest.mark.parametrize("value", CHANGED, ids=lambda value: type(value).__name__)
def test_what_the_encoder_would_change_makes_no_key_and_writes_nothing(
    broker: LockstepBroker, value: Any
) -> None:
    for options in (
        {},
        *({"group_by": by} for by in BY_SHOP),
        *({"unique": "until_finished", "unique_by": by} for by in BY_SHOP),
        *({"rate_limit": "1/1s", "rate_limit_key": by} for by in BY_SHOP),
        {"unique": "until_finished"},
    ):
        work = declared(broker, **options)
        for args, kwargs, field in (
            ((value,), {}, "/args/0"),
            ((), {"shop": value}, "/kwargs/shop"),
            (("a", 1, value), {}, "/args/2"),
            ((), {"other": value}, "/kwargs/other"),
        ):
            for more in ({}, {"message_id": "m"}, {"idempotency_key": "k"}):
                with pytest.raises(InvalidMessage) as caught:
                    work.send_with_options(args=args, kwargs=kwargs, **more)
                assert caught.value.field.startswith(field), (options, caught.value)
    assert broker.store.queues() == []


@pytest.mark.parametrize(
    "option", ["group", "message_id", "idempotency_key", "backoff", "on_dead", "on_success"]
)
def test_options_are_plain_too(broker: LockstepBroker, option: str) -> None:
    class Word(str, enum.Enum):  # noqa: UP042
        A = "block"

    class Delay(str, enum.Enum):  # noqa: UP042
        A = "fixed:1s"

    value = Delay.A if option == "backoff" else Word.A
    with pytest.raises(InvalidMessage, match=r"Delay|Word"):
        declared(broker).send_with_options(args=("a",), **{option: value})
    if option not in ("message_id", "idempotency_key"):
        with pytest.raises(InvalidOption, match=option):
            declared(broker, **{option: value})
    for other in (7, 1.0, True, Shouting("g")):
        with pytest.raises(InvalidMessage):
            declared(broker).send_with_options(args=("a",), group=other)
    assert broker.store.queues() == []


@pytest.mark.parametrize("by", BY_SHOP, ids=["format", "function", "function of all"])
@pytest.mark.parametrize(
    "shop", ["shop-a", 1, 1.0, True, None, [1, [2, {"a": []}]], {"a": [1]}, "é", "e\u0301", "ﬁ"], ids=repr
)
def test_equal_arguments_have_one_key_by_whatever_way_they_come(
    broker: LockstepBroker, by: Any, shop: Any
) -> None:
    work = declared(broker, group_by=by)

    def with_tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: with_tuples(child) for name, child in value.items()}
        return (
            Pair(*map(with_tuples, value))
            if isinstance(value, list) and len(value) == 2
            else (tuple(map(with_tuples, value)) if isinstance(value, list) else value)
        )

    request, _ = parse_request(broker, {"actor": work.actor_name, "kwargs": {"shop": shop}})
    messages = [
        work.message(shop),
        work.message(shop, 1),
        work.message(shop=shop),
        work.message(with_tuples(shop)),
        work.message_with_options(args=("other",), group_by=by).copy(args=(shop,)),
        broker.encoder.decode(work.message(shop).encode()) and work.message(shop).copy(),
        request,
    ]
    if shop == "shop-a":
        messages.append(work.message())  # the default
    assert len({group_of(broker, message) for message in messages}) == 1


def test_a_default_that_is_not_plain_makes_no_key(broker: LockstepBroker) -> None:
    @dramatiq.actor(group_by="{shop}")
    def work(shop: Any = Shop.A, other: Any = Shop.A) -> None: ...

    with pytest.raises(InvalidMessage, match="group_by reads it") as caught:
        work.send()
    assert caught.value.field == "/kwargs/shop"
    assert group_of(broker, work.message("shop-a")) == "shop-a"  # the key does not read the other


def test_formats_read_what_they_name(broker: LockstepBroker) -> None:
    work = declared(broker)
    for by, expected in (
        ("{shop[a]}:{n}", "1:7"),
        ("{shop[a]:>{n}}", "      1"),
        ("{{{n}}}", "{7}"),
        ("fixed", "fixed"),
        ("{rest}", "()"),
        ("{more}", "{}"),
    ):
        message = work.message_with_options(args=({"a": 1, "b": (1,)}, 7), group_by=by)
        assert group_of(broker, message) == expected


def test_two_of_one_customer_never_run_at_once(broker: LockstepBroker) -> None:
    """As it was found: the second way to name the customer is refused, not run in a group of its own."""
    work = declared(broker, group_by="{shop}")
    work.send("shop-a", 2)
    with pytest.raises(InvalidMessage, match=r"/args/0: .*Shop"):
        work.send(Shop.A, 1)


@pytest.mark.parametrize("value", [Shop.A, {1: 2}, datetime(2026, 1, 1), Shouting("x")], ids=repr)
def test_a_result_that_would_change_fails_the_attempt(broker: LockstepBroker, value: Any) -> None:
    @dramatiq.actor(store_results=True, max_attempts=1)
    def work() -> Any:
        return value

    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    try:
        sent = work.send()
        wait_for("dead", lambda: broker.store.message(sent.message_id).state is MessageState.DEAD)
    finally:
        worker.stop()


# -- encoders of applications --------------------------------------------------------------------------------------


@pytest.fixture
def use() -> Iterator[Any]:
    former = dramatiq.get_encoder()
    yield dramatiq.set_encoder
    dramatiq.set_encoder(former)


class Opaque:
    """Has no equality, as most classes."""

    def __init__(self) -> None:
        self.name = "o"
        self.lock = "here"

    def __getstate__(self) -> dict[str, str]:
        return {"name": self.name}

    def __str__(self) -> str:
        return getattr(self, "lock", "lost")


@pytest.mark.parametrize(
    "value",
    [Shop.A, Number.ONE, (1, (2,)), {1: "a", "1": "b"}, datetime(2026, 1, 1), math.nan, -0.0, Opaque()],
    ids=lambda value: type(value).__name__,
)
def test_what_an_encoder_keeps_is_accepted(broker: LockstepBroker, use: Any, value: Any) -> None:
    use(PickleEncoder())
    work = declared(broker, unique="until_started")
    first = work.send(value, [value])
    stored = broker.encoder.decode(broker.store.message(first.message_id).payload)
    assert type(stored["args"][0]) is type(value)


def test_keys_are_made_of_what_the_encoder_returns(broker: LockstepBroker, use: Any) -> None:
    use(PickleEncoder())
    work = declared(broker, group_by="{shop}")
    assert group_of(broker, work.message(Opaque())) == "lost"
    assert group_of(broker, work.message(pickle.loads(pickle.dumps(Opaque())))) == "lost"


class Lossy(JSONEncoder):
    """As many write it: whatever JSON has not becomes text."""

    def encode(self, data: Any) -> bytes:
        import json

        return json.dumps(data, default=str, separators=(",", ":")).encode()


class Broken(Encoder):
    def encode(self, data: Any) -> bytes:
        raise RuntimeError("broken")

    def decode(self, data: bytes) -> Any:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (datetime(2026, 1, 1), "/args/0"),
        ([1, {"a": Shop.A}], "/args/0/1/a"),
        ({1: "a"}, "/args/0"),
        ({1: "a", "1": "b"}, "/args/0"),
        (Shouting("x"), "/args/0"),
        (Pair(1, Shop.A), "/args/0/1"),
    ],
    ids=repr,
)
def test_what_an_encoder_changes_is_refused(broker: LockstepBroker, use: Any, value: Any, field: str) -> None:
    use(Lossy())
    work = declared(broker, group_by="{shop}")
    with pytest.raises(InvalidMessage) as caught:
        work.send(value)
    assert caught.value.field == field
    work.send("shop-a", 1, (1, 2), x=math.inf)  # what it keeps
    use(Broken())
    with pytest.raises(InvalidMessage, match="broken"):
        work.send("shop-a")

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dramatiq
import orjson
import pytest
from dramatiq.brokers.stub import StubBroker
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.arguments import check_arguments
from lockstep.checks import MAX_DELAY_MS, RESERVED
from lockstep.errors import InvalidMessage, LockstepError, UnknownActor
from lockstep.requests import parse_request

broker = StubBroker(middleware=[])


@dramatiq.actor(broker=broker, queue_name="mail", actor_name="mail.send")
def send(to: str, body: str, *, urgent: bool = False) -> None: ...


@dramatiq.actor(broker=broker, actor_name="anything")
def anything(*args: Any, **kwargs: Any) -> None: ...


@dramatiq.actor(broker=broker, actor_name="positional")
def positional(first: str, /, second: str = "") -> None: ...


@dramatiq.actor(broker=broker, actor_name="async")
async def asynchronous(body: str) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def _close_broker() -> Iterator[None]:
    yield
    broker.close()


def refused(data: object, pointer: str = "") -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        parse_request(broker, data, pointer=pointer)
    return caught.value


def anything_with(**fields: object) -> dict[str, object]:
    return {"actor": "anything", **fields}


def test_the_least_request_is_an_actor() -> None:
    message, delay = parse_request(broker, {"actor": "anything"})
    assert (message.actor_name, message.queue_name, message.args, message.kwargs) == (
        "anything",
        "default",
        (),
        {},
    )
    assert (message.options, delay) == ({}, None)
    assert message.message_id


def test_every_field_has_its_effect() -> None:
    message, delay = parse_request(
        broker,
        {
            "actor": "mail.send",
            "args": ["a@example.org"],
            "kwargs": {"body": "hi", "urgent": True},
            "group": "c:1",
            "queue": "mail",
            "id": "m-1",
            "delay_ms": 1500,
            "max_attempts": 7,
            "priority": 3,
            "hold_place": True,
            "idempotency_key": "k",
            "unique": "10m",
            "unique_by": "{to}",
            "retention": "2h",
        },
    )
    assert (message.queue_name, delay) == ("mail", 1500)
    assert (message.args, message.kwargs) == (("a@example.org",), {"body": "hi", "urgent": True})
    assert message.options == {
        "group": "c:1",
        "message_id": "m-1",
        "max_attempts": 7,
        "priority": 3,
        "hold_place": True,
        "idempotency_key": "k",
        "unique": "10m",
        "unique_by": "{to}",
        "retention": 7_200_000,
    }


NOW_MS = int(time.time() * 1000)
TODAY = datetime.now(UTC).date()
MIDNIGHT_MS = int(datetime.combine(TODAY, datetime.min.time(), UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("eta", "expected"),
    [
        (NOW_MS, NOW_MS),
        # Hours of leeway: the suite may take long to come here after it has imported this file.
        (NOW_MS - 72_000_000, NOW_MS - 72_000_000),
        (f"{TODAY}T03:40:00Z", MIDNIGHT_MS + 13_200_000),
        (f"{TODAY}t04:40:00.5+01:00", MIDNIGHT_MS + 13_200_500),
    ],
    ids=["now", "hours ago", "a time", "with an offset"],  # the same in every process
)
def test_an_eta_becomes_an_option_in_milliseconds(eta: object, expected: int) -> None:
    message, delay = parse_request(broker, anything_with(eta=eta))
    assert (message.options["eta"], delay) == (expected, None)


@pytest.mark.parametrize(
    "group", ["a", " ", "\x00", "{x}", "a|b:c*\n", "ключ", "👩‍👩‍👧", "%2F/..", "g" * 256]
)
def test_nothing_in_a_group_is_special(group: str) -> None:
    message, _ = parse_request(broker, anything_with(group=group))
    assert message.options["group"] == group


#: Ids whose addresses do not work.
DOTS = (".", "..", "%2e", "%2E%2e", ".%2E", "a/..", "../a", "a/./b", "./", "..\\a", "a%2F..", "%2e%2e%5Ca")

TOO_FAR = int(time.time() * 1000) + MAX_DELAY_MS + 3_600_000


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (None, ""),
        ([], ""),
        ("text", ""),
        (1.5, ""),
        ({}, "/actor"),
        ({"actor": None}, "/actor"),
        ({"actor": ""}, "/actor"),
        ({"actor": "\ud800"}, "/actor"),
        ({"actor": ["anything"]}, "/actor"),
        (anything_with(colour="red"), "/colour"),
        (anything_with(**{"a/b~c": 1}), "/a~1b~0c"),
        (anything_with(**{"x" * 1000: 1}), ""),
        (anything_with(**{"\udc00": 1}), ""),
        *((anything_with(**{name: "x"}), f"/{name}") for name in RESERVED),
        *((anything_with(args=bad), "/args") for bad in (None, {}, "x", 1)),
        *((anything_with(kwargs=bad), "/kwargs") for bad in (None, [], "x", 1)),
        *((anything_with(group=bad), "/group") for bad in (None, "", "g" * 257, 1, [], "a\ud83d")),
        *((anything_with(queue=bad), "/queue") for bad in (None, "", "mail", 1, [])),
        *(
            (anything_with(id=bad), "/id")
            for bad in (None, "", "i" * 129, 1, "a\nb", "\x7f", "\x85", "\ud800")
        ),
        *((anything_with(delay_ms=bad), "/delay_ms") for bad in (None, -1, 1.0, "1", True, MAX_DELAY_MS + 1)),
        *((anything_with(max_attempts=bad), "/max_attempts") for bad in (None, 0, 1001, 1.0, "3", True)),
        *((anything_with(priority=bad), "/priority") for bad in (None, -1, 10, 1.0, "3", True)),
        *((anything_with(hold_place=bad), "/hold_place") for bad in (None, 1, "true", [])),
        *(
            (anything_with(idempotency_key=bad), "/idempotency_key")
            for bad in (None, "", "k" * 256, 1, "a\x1f")
        ),
        *(
            (anything_with(unique=bad), "/unique")
            for bad in (None, "", "always", "0s", 10, True, "60w", "366d")
        ),
        *((anything_with(eta=bad), "/eta") for bad in (0, 1, NOW_MS // 1000, NOW_MS - 2 * 86_400_000)),
        *((anything_with(eta=bad), "/eta") for bad in ("1969-07-20T20:17:40Z", "2001-01-01T00:00:00Z")),
        *((anything_with(id=bad), "/id") for bad in DOTS),
        *((anything_with(unique_by=bad), "/unique_by") for bad in (None, "", 1)),
        *((anything_with(eta=bad), "/eta") for bad in (None, -1, 1.5, True, TOO_FAR, 10**30, [])),
        *(
            (anything_with(eta=bad), "/eta")
            for bad in (
                "",
                "tomorrow",
                "2026-11-23",
                "2026-11-23T03:40:00",
                "2026-13-01T00:00:00Z",
                "2026-02-30T00:00:00Z",
                "2026-11-23T24:00:01Z",
                "9999-12-31T23:59:59-23:59",
                "2026-11-23T03:40:00+99:99",
                "٢٠٢٦-11-23T03:40:00Z",
            )
        ),
        (anything_with(eta=0, delay_ms=0), "/eta"),
    ],
)
def test_what_is_wrong_is_pointed_at(data: object, field: str) -> None:
    assert refused(data).field == field


def test_the_pointer_begins_where_the_request_stands() -> None:
    assert refused({"actor": "mail.send", "id": 7}, "/messages/3").field == "/messages/3/id"
    assert refused(7, "/messages/3").field == "/messages/3"


def test_an_unknown_actor_is_its_own_error() -> None:
    error = refused({"actor": "mail.sent"}, "/messages/0")
    assert isinstance(error, UnknownActor)
    assert (error.actor, error.field) == ("mail.sent", "/messages/0/actor")


def test_an_error_does_not_echo_a_huge_name() -> None:
    assert len(str(refused({"actor": "x" * 100_000}))) < 1000


@pytest.mark.parametrize(
    "data",
    [
        {"actor": "positional", "args": ["a"]},
        {"actor": "anything", "args": [], "kwargs": {}},
        {"actor": "positional", "args": ["a"], "kwargs": {"second": "b"}},
        {"actor": "mail.send", "kwargs": {"to": "a", "body": "b"}},
        {"actor": "anything", "args": [1, 2, 3], "kwargs": {"self": 1, "args": 2, "": 3}},
        {"actor": "async", "args": ["b"]},
    ],
)
def test_arguments_that_fit_are_taken(data: dict[str, Any]) -> None:
    message, _ = parse_request(broker, data)
    check_arguments(broker.get_actor(message.actor_name), message.args, message.kwargs)
    assert message.args == tuple(data.get("args", ()))
    assert message.kwargs == data.get("kwargs", {})


texts = st.text(st.characters(codec=None), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
names = st.sampled_from(
    ["actor", "group", "args", "kwargs", "queue", "id", "delay_ms", "eta", "max_attempts"]
)
requests = st.dictionaries(names | texts, values, max_size=6).flatmap(
    lambda fields: st.sampled_from(
        [fields, {**fields, "actor": "anything"}, {**fields, "actor": "mail.send"}]
    )
)


@settings(max_examples=300, deadline=None)
@given(requests | values)
def test_anything_is_either_a_message_or_a_refusal(data: object) -> None:
    try:
        message, delay = parse_request(broker, data)
    except LockstepError as error:
        assert isinstance(error, InvalidMessage)
        error.field.encode()
    else:
        orjson.dumps([message.options, message.message_id])
        assert delay is None or 0 <= delay <= MAX_DELAY_MS

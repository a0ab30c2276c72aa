"""Every option, with every kind of value, on an actor and on a message: it works, or it is refused by its name."""

import enum
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import dramatiq
import pytest
from dramatiq import Message, Worker, pipeline
from dramatiq.middleware import CurrentMessage, Middleware, TimeLimit

from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidMessage, InvalidOption
from lockstep.options import CARRIED, OPTIONS
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


class Word(str, enum.Enum):  # noqa: UP042  (as people write it)
    KEY = "10m"


def function(**_: Any) -> str:
    return "key"


TARGET: Final = {"queue_name": "default", "actor_name": "x", "args": [], "kwargs": {}, "options": {}}
VALUES: Final[dict[str, Any]] = {
    "none": None,
    "inf": math.inf,
    "-inf": -math.inf,
    "nan": math.nan,
    "0": 0,
    "1": 1,
    "-1": -1,
    "-0.5": -0.5,
    "1e6": 1_000_000.0,
    "1h": 3_600_000,
    "2**40": 2**40,
    "10**30": 10**30,
    "true": True,
    "false": False,
    "empty": "",
    "x": "x",
    "text": "10m",
    "format": "{n}",
    "fixed": "fixed:1s",
    "block": "block",
    "rate": "100/1s",
    "long": "x" * 300,
    "surrogate": "\ud800",
    "enum": Word.KEY,
    "bytes": b"x",
    "list": [],
    "texts": ["x"],
    "object": {},
    "target": TARGET,
    "tuple": (),
    "function": function,
    "error": KeyError,
    "errors": (KeyError, ValueError),
}
TEXTS: Final = {"x", "text", "format", "fixed", "block", "rate"}
BOOLS: Final = {"true", "false"}
MS: Final = {"0", "1", "1e6", "1h", "2**40"}
LIMITS: Final = {"none", "inf", "1e6", "1h", "2**40", "1"}
NOWHERE: Final[set[str]] = set()

#: Of each option: the values that work on an actor, and those that work on a message. On an actor, None always does.
TABLE: Final[dict[str, tuple[set[str] | None, set[str] | None]]] = {
    "group": (TEXTS, TEXTS | {"none"}),
    "group_by": (
        TEXTS | {"long", "function", "error", "empty", "surrogate"},
        TEXTS | {"function", "none"},
    ),
    "validate": ({"function", "error"}, None),
    "hold_place": (BOOLS, BOOLS),
    "retention": ({"0", "1", "1h", "text"}, {"0", "1", "1h", "text"}),
    "unique": ({"text"}, {"text"}),
    "unique_by": (
        TEXTS | {"long", "function", "error", "empty", "surrogate"},
        TEXTS | {"long", "function", "none"},
    ),
    "on_dead": ({"block"}, {"block"}),
    "rate_limit": (
        {"x", "text", "block", "rate", "texts", "list", "tuple"},
        {"x", "text", "block", "rate", "texts", "list", "tuple", "none"},
    ),
    "rate_limit_key": (
        TEXTS | {"long", "function", "error", "empty", "surrogate"},
        TEXTS | {"function", "none"},
    ),
    "concurrency": ({"1"}, None),
    "group_concurrency": ({"1"}, None),
    "max_attempts": ({"1"}, {"1"}),
    "max_retries": ({"0", "1", "1h", "1e6", "inf", "none"}, {"0", "1", "1h", "1e6", "inf", "none"}),
    "backoff": ({"fixed"}, {"fixed", "none"}),
    "min_backoff": (MS, MS | {"none"}),
    "max_backoff": (MS, MS | {"none"}),
    "retry_when": ({"function", "error"}, None),
    "throws": ({"error", "errors", "tuple"}, {"none", "tuple"}),
    "on_retry_exhausted": (TEXTS | {"long"}, TEXTS | {"long", "none"}),
    "time_limit": (LIMITS, LIMITS),
    "max_age": (LIMITS, LIMITS),
    "store_results": (BOOLS, BOOLS | {"none"}),
    "result_ttl": (MS | {"10**30"}, MS | {"none"}),
    "periodic": (NOWHERE, None),
    "catch_up": (NOWHERE, None),
    "time_zone": (NOWHERE, None),
    "notify_shutdown": (BOOLS, BOOLS | {"none"}),
    "on_success": ({"x"}, {"x", "none"}),
    "on_failure": (TEXTS | {"long"}, TEXTS | {"long", "none"}),
    "pipe_ignore": (BOOLS, BOOLS | {"none"}),
    "pipe_target": (None, {"target", "none"}),
    "group_completion_callbacks": (None, {"list", "tuple", "none"}),
    "message_id": (None, TEXTS),
    "idempotency_key": (None, TEXTS),
    "delay": (None, {"0", "1", "1e6", "1h", "none"}),
    "eta": (None, {"none"}),  # the numbers are times of long ago
    "priority": (None, {"0", "1"}),
    "callback_url": (None, NOWHERE),
    "depends_on": (None, NOWHERE),
}
#: What has no record as done: it is due later, is older than it may be, or leaves none.
LATER: Final = {("delay", "1h"), ("delay", "1e6"), ("max_age", "1"), ("retention", "0"), ("retention", "1")}
#: Names of actors may be any text here; the test has one actor, ``x``.
NAMES: Final = {"on_success"}


def test_the_table_is_complete(broker: LockstepBroker) -> None:
    assert TABLE.keys() == OPTIONS.keys()
    assert broker.actor_options <= OPTIONS.keys()
    assert not CARRIED & OPTIONS.keys()


@pytest.fixture
def declare(broker: LockstepBroker) -> Iterator[Callable[..., Any]]:
    numbers = itertools.count()

    @dramatiq.actor
    def x(*data: object, **more: object) -> None: ...

    def declared(**options: Any) -> Any:
        return dramatiq.actor(actor_name=f"work-{next(numbers)}", **{"store_results": True} | options)(work)

    def work(n: int) -> int:
        return n

    yield declared


def test_on_an_actor(declare: Callable[..., Any], start: Start, ended: Ended) -> None:
    start()
    sent = {}
    numbers = itertools.count()
    for option, (on_actor, _) in TABLE.items():
        if option == "priority":
            continue  # of an actor it is Dramatiq's own attribute, any number
        right = {"none"} | (on_actor or NOWHERE)
        for name, value in VALUES.items():
            if (option in NAMES and name in TEXTS | {"long"} and name not in right) or (
                value is None and on_actor is None
            ):
                continue
            if name in right:
                actor = declare(**{option: value})
                if name not in ("error", "long", "empty", "surrogate"):  # of functions: whatever they make
                    sent[option, name] = actor.send(next(numbers)).message_id
            else:
                with pytest.raises((InvalidOption, ValueError), match=option):
                    print(f"accepted: {option}={name}", declare(**{option: value}))
    check_runs(sent, ended)


def test_on_a_message(
    broker: LockstepBroker, declare: Callable[..., Any], start: Start, ended: Ended
) -> None:
    start()
    actor = declare(time_limit=60_000, result_ttl=1000)
    sent = {}
    numbers = itertools.count()
    for option, (_, on_message) in TABLE.items():
        for name, value in VALUES.items():
            if option in NAMES and name in TEXTS | {"long"} and name != "x":
                continue
            others = {"unique": "until_finished"} if option == "unique_by" else {}
            options = {**others, option: value}
            message = Message("default", actor.actor_name, (next(numbers),), {}, options)
            if name in (on_message or NOWHERE):
                sent[option, name] = broker.enqueue(message).message_id
            else:
                with pytest.raises(InvalidMessage) as caught:
                    print(f"accepted: {option}={name}", broker.enqueue(message))
                named = {"message_id": "/id", "delay": "/delay_ms", "group_by": "/group"}
                assert caught.value.field.startswith((f"/{option}", named.get(option, f"/{option}")))
    check_runs(sent, ended)


def check_runs(sent: dict[tuple[str, str], str], ended: Ended) -> None:
    for case, message_id in sent.items():
        if case not in LATER:
            assert ended(message_id).state is MessageState.DONE, case


@pytest.mark.parametrize("option", ["catch_up", "time_zone"])
def test_on_a_periodic_actor(declare: Callable[..., Any], option: str) -> None:
    for name, value in VALUES.items():
        if value is not None:
            with pytest.raises(InvalidOption, match=option.replace("_", "[_ ]")):
                print(f"accepted: {name}", declare(periodic="* * * * *", **{option: value}))


@pytest.mark.parametrize(
    ("option", "value"), [("rate_limt", "1/2s"), ("Group", "g"), ("queue_name", "q"), ("", 1), ("retry", 3)]
)
def test_a_name_that_nobody_knows_is_refused(
    broker: LockstepBroker, declare: Callable[..., Any], option: str, value: object
) -> None:
    with pytest.raises(InvalidMessage, match="no such option") as caught:
        declare().send_with_options(args=(1,), **{option: value})
    assert caught.value.field == f"/{option}"
    assert broker.store.queues() == []


def test_a_misspelled_name_is_answered_with_the_right_one(declare: Callable[..., Any]) -> None:
    with pytest.raises(InvalidMessage, match="did you mean 'max_attempts'"):
        declare().send_with_options(args=(1,), max_attemps=1)


def test_options_of_later_steps_are_checked_when_the_first_is_sent(
    broker: LockstepBroker, declare: Callable[..., Any]
) -> None:
    work = declare()
    for option, value in (("concurrency", 1), ("max_atempts", 1), ("max_attempts", 0)):
        last = work.message_with_options(args=(3,), **{option: value})
        with pytest.raises(InvalidMessage) as caught:
            pipeline([work.message(1), work.message(2), last]).run()
        assert caught.value.field == f"/pipe_target/options/pipe_target/options/{option}"
    assert broker.store.queues() == []


def test_what_other_packages_put_into_messages_is_accepted(
    broker: LockstepBroker, declare: Callable[..., Any], start: Start, ended: Ended
) -> None:
    class Tracing(Middleware):
        @property
        def actor_options(self) -> set[str]:
            return {"abortable"}

        def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
            message.options["_trace"] = "t"

    broker.add_middleware(Tracing())
    work = declare()
    carried = {name: {} if name == "options" else "x" for name in CARRIED}
    first = work.send_with_options(args=(1,), abortable=True, **carried)
    assert first.options["_trace"] == "t"
    again = broker.enqueue(first.copy(message_id="again"))  # with what the hook added
    start()
    assert ended(first.message_id).state is ended(again.message_id).state is MessageState.DONE
    with pytest.raises(InvalidMessage) as caught:  # it would join no group
        work.send_with_options(args=(1,), options={"trace_context": {}, "group": "g"})
    assert caught.value.field == "/options/group"


def test_an_actor_sends_its_own_message_on_with_all_its_options(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    """The process that runs it has sent nothing, so it has not seen the hook that added an option."""

    @dramatiq.actor
    def work(n: int) -> None:
        if n:
            message: Any = CurrentMessage.get_current_message()
            broker.enqueue(
                Message("default", "work", (0,), {}, message.options, f"{message.message_id}-next")
            )

    broker._hooked_options.add("of_a_hook")
    first = work.send_with_options(args=(1,), of_a_hook=1)
    broker._hooked_options.clear()
    start()
    assert ended(first.message_id).state is MessageState.DONE
    assert ended(f"{first.message_id}-next").state is MessageState.DONE


def test_no_limit_on_a_message_lifts_that_of_its_actor(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    next(m for m in broker.middleware if isinstance(m, TimeLimit)).after_process_boot(broker)

    @dramatiq.actor(time_limit=1, max_age=1, max_attempts=1)
    def work(n: int) -> None:
        runs.append(n)
        wait_for("twice the time in which limits are looked at", lambda: next(ticks) > 60)

    runs: list[int] = []
    ticks = itertools.count()
    start()
    for n, none in enumerate([None, math.inf]):
        ticks = itertools.count()
        message = work.message_with_options(args=(n,), time_limit=none, max_age=none)
        sent = broker.enqueue(message.copy(message_timestamp=1))
        assert ended(sent.message_id).state is MessageState.DONE
    assert runs == [0, 1]
    assert ended(broker.enqueue(work.message(2).copy(message_timestamp=1)).message_id).reason == (
        "Message age limit exceeded"
    )


def test_the_option_of_a_message_replaces_its_alternative_of_the_actor(
    broker: LockstepBroker, declare: Callable[..., Any], start: Start, ended: Ended
) -> None:
    @dramatiq.actor(max_attempts=2, backoff="fixed:1h")
    def work() -> None:
        raise KeyError("x")

    once = work.send_with_options(max_retries=0)
    twice = work.send_with_options(min_backoff=0)
    thrice = work.send_with_options(max_retries=2, max_backoff=0)
    start()
    for message, attempts in ((once, 1), (twice, 2), (thrice, 3)):
        assert len(ended(message.message_id).attempts) == attempts
    for given in (
        {"max_retries": 1, "max_attempts": 2},
        {"min_backoff": 1, "backoff": "fixed:1s"},
        {"max_backoff": 1, "backoff": "fixed:1s"},
        {"group_by": "x", "group": "y"},
    ):
        with pytest.raises(InvalidMessage, match="no effect next to"):
            work.send_with_options(**given)
        with pytest.raises(InvalidOption, match="no effect next to"):
            declare(**given)
    with pytest.raises(InvalidMessage, match="not both"):
        work.send_with_options(eta=int(time.time() * 1000) + 60_000, delay=5)


def test_the_group_by_of_a_message_replaces_the_group_of_its_actor(broker: LockstepBroker) -> None:
    @dramatiq.actor(group="of the actor")
    def work(n: int) -> None: ...

    assert work.send(1).options["group"] == "of the actor"
    assert work.send_with_options(args=(1,), group="own").options["group"] == "own"
    assert work.send_with_options(args=(1,), group_by="made of {n}").options["group"] == "made of 1"
    message = work.message_with_options(args=(2,), group_by="made of {n}", message_id="own")
    accepted = [broker.submit(message), broker.submit(message)]  # it may be sent again as it is
    assert [one.duplicate for one in accepted] == [False, True]
    assert message.options["group"] == "made of 2"


@pytest.mark.parametrize("limit", [None, math.inf])
def test_a_middleware_without_a_time_limit_lets_messages_run(
    broker: LockstepBroker, start: Start, ended: Ended, limit: float | None
) -> None:
    broker.add_middleware(TimeLimit(time_limit=limit))  # type: ignore[arg-type]

    @dramatiq.actor(max_attempts=1)
    def work() -> None: ...

    message = work.send()
    start()
    assert ended(message.message_id).state is MessageState.DONE


@pytest.mark.parametrize(
    "options", [{"min_backoff": 0}, {"max_backoff": 0}, {"min_backoff": 1, "max_backoff": 1}]
)
def test_a_backoff_of_zero_is_no_wait(
    broker: LockstepBroker, start: Start, ended: Ended, options: dict[str, int]
) -> None:
    @dramatiq.actor(max_attempts=3)
    def of_messages() -> None:
        raise KeyError("x")

    @dramatiq.actor(max_attempts=3, **options)
    def of_actors() -> None:
        raise KeyError("x")

    sent = [of_actors.send(), of_messages.send_with_options(**options)]
    start()
    for message in sent:  # Dramatiq's default is 15 seconds or more; the test waits 10
        assert len(ended(message.message_id).attempts) == 3

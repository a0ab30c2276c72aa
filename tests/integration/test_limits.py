"""Limits of actors, with a real worker."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from lockstep import limits
from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidMessage, InvalidOption, NotFound
from lockstep.rates import Rate
from lockstep.records import MessageRecord
from lockstep.states import GroupState, MessageState
from middleware import make_broker
from tests.history.windows import fullest, most_at_once
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]
MS = 1_000_000


def counted(broker: LockstepBroker, name: str) -> int:
    return broker.store.counts("default").stats.get(name, 0)


def test_the_options_of_an_actor_hold_without_any_setting(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    times: list[int] = []

    @dramatiq.actor(rate_limit="3/300ms")
    def limited() -> None:
        times.append(time.monotonic_ns())

    start()
    sent = [limited.send() for _ in range(10)]
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE
    assert fullest(times, 300 * MS) == 3


def test_actors_share_a_limit_by_its_name(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    times: list[int] = []

    @dramatiq.actor(rate_limit="provider")
    def one() -> None:
        times.append(time.monotonic_ns())

    @dramatiq.actor(queue_name="other", rate_limit=["provider", "100/1s per process"])
    def two() -> None:
        times.append(time.monotonic_ns())

    broker.store.limits.set("provider", rates=(Rate.parse("2/300ms"),))
    start()
    sent = [actor.send() for _ in range(3) for actor in (one, two)]
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE
    assert fullest(times, 300 * MS) == 2


def test_a_key_of_the_arguments_keeps_limits_apart(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[str] = []

    @dramatiq.actor(rate_limit="1/1h", rate_limit_key="{domain}")
    def mail(domain: str) -> None:
        ran.append(domain)

    start()
    sent = [mail.send(domain=domain) for domain in ("a", "b", "c")]
    for message in sent:
        ended(message.message_id)
    mail.send(domain="a")
    wait_for("it waits", lambda: counted(broker, "limit_waits|mail") == 1)
    assert sorted(ran) == ["a", "b", "c"]
    with pytest.raises(InvalidMessage) as refused:
        mail.send(domain="")
    assert refused.value.field == "/rate_limit_key"


def test_several_of_a_group_run_at_once_and_no_more(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    runs: list[tuple[int, int]] = []

    @dramatiq.actor(group="g", group_concurrency=2)
    def work() -> None:
        began = time.monotonic_ns()
        time.sleep(0.03)
        runs.append((began, time.monotonic_ns()))

    start()
    sent = [work.send() for _ in range(10)]
    records = [ended(message.message_id) for message in sent]
    assert {record.group for record in records} == {"g"}
    assert most_at_once(runs) == 2


def test_a_paused_actor_waits_while_others_go_on(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    ran: list[str] = []

    @dramatiq.actor
    def quiet() -> None:
        ran.append("quiet")

    @dramatiq.actor
    def loud() -> None:
        ran.append("loud")

    start()
    assert broker.store.limits.pause_actor("quiet")
    assert not broker.store.limits.pause_actor("quiet")
    first = quiet.send()
    ended(loud.send().message_id)
    wait_for("it waits", lambda: broker.store.counts("default").groups[GroupState.BLOCKED] == 1)
    assert ran == ["loud"]
    assert broker.store.limits.resume_actor("quiet")
    ended(first.message_id)


def test_charging_what_nobody_set_fails_the_attempt(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(max_attempts=1)
    def work() -> None:
        limits.charge("nobody.set.this", "key")

    start()
    record = ended(work.send().message_id)
    assert record.state is MessageState.DEAD
    error = record.attempts[-1].error
    assert error is not None
    assert error["type"] == "NotFound"


def test_limits_belong_inside_actors() -> None:
    with pytest.raises(InvalidOption):
        limits.charge("name")
    with pytest.raises(InvalidOption):
        limits.hold("name", 1)


def test_a_shared_limit_that_nobody_has_set_is_logged(
    broker: LockstepBroker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    @dramatiq.actor(rate_limit=["often", "by_operator", "by_actor", "1/1h per group"])
    def work() -> None: ...

    @dramatiq.actor(actor_name="by_actor", concurrency=2)
    def other() -> None: ...

    broker.store.limits.set("by_operator", rates=())  # off is a decision too
    start()
    lines: list[Any] = [line.msg for line in caplog.records if isinstance(line.msg, dict)]
    logged = [(line["actor"], line["limit"]) for line in lines if line["event"] == "limit.not_set"]
    assert logged == [("work", "often")]


def test_an_empty_rate_is_not_the_lack_of_one(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    @dramatiq.actor(max_attempts=1)
    def work() -> None:
        limits.charge("name", "key", rate="")

    broker.store.limits.set("name", rates=(Rate.parse("1/1h"),))
    start()
    error = ended(work.send().message_id).attempts[-1].error
    assert error is not None
    assert error["type"] == "InvalidOption"


@pytest.mark.parametrize(
    "options",
    [
        {"rate_limit": "a lot"},
        {"rate_limit": 5},
        {"rate_limit": [5]},
        {"rate_limit": ["1/s", "2/s"]},
        {"concurrency": 0},
        {"concurrency": "5"},
        {"group_concurrency": 0},
        {"rate_limit_key": 5},
    ],
)
def test_an_actor_with_a_limit_that_is_none_is_not_declared(
    broker: LockstepBroker, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOption):
        dramatiq.actor(lambda: None, actor_name="wrong", broker=broker, **options)


def test_a_newer_release_takes_back_what_an_older_one_declared(broker: LockstepBroker) -> None:
    @dramatiq.actor(rate_limit="1/1h", concurrency=5)
    def work() -> None: ...

    settings = dataclasses.replace(broker.settings, rate_limits={"provider": (Rate.parse("1/1h"),)})
    older = make_broker(settings)
    older.declare_actor(work)
    declare(older)
    assert [limit.name for limit in broker.store.limits.all()] == ["provider", "work"]
    work.options.update(rate_limit=None, concurrency=None)
    declare(broker)
    assert broker.store.limits.all() == []
    with pytest.raises(NotFound):
        broker.store.limits.charge(broker.store.shards("default")[0], "work", "", ())
    older.close()


def declare(broker: LockstepBroker) -> None:
    from middleware import RateLimits

    (limits,) = (one for one in broker.middleware if isinstance(one, RateLimits))
    limits.before_worker_boot(broker, None)


def test_a_message_brings_a_rate_of_its_own(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    """No limit is declared anywhere, so the hash of limits does not even exist."""
    times: dict[str, list[int]] = {}

    @dramatiq.actor
    def work(how: str) -> None:
        times.setdefault(how, []).append(time.monotonic_ns())

    start()
    sent = [work.send_with_options(args=("slow",), rate_limit="2/400ms") for _ in range(6)]
    sent += [work.send_with_options(args=("slower",), rate_limit=["1/500ms"]) for _ in range(3)]
    sent += [
        work.send_with_options(args=("each",), rate_limit="1/1h per group", group=f"g{n}") for n in range(3)
    ]
    sent += [work.send("free") for _ in range(20)]
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE
    assert fullest(times["slow"], 400 * MS) == 2
    assert fullest(times["slower"], 500 * MS) == 1
    assert len(times["each"]) == 3  # each in a group of its own
    again = work.send_with_options(args=("each",), rate_limit="1/1h per group", group="g0")
    wait_for("it waits", lambda: broker.store.message(again.message_id).state is MessageState.WAITING
             and counted(broker, "limit_waits|work"))  # fmt: skip
    assert len(times["each"]) == 3


def test_the_rate_of_a_message_replaces_that_of_its_actor_but_not_what_operators_say(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[str] = []

    @dramatiq.actor(rate_limit=["1/1h", "shared"], rate_limit_key="{key}")
    def work(name: str, key: str = "k") -> None:
        ran.append(name)

    def send(name: str, key: str = "k", **options: Any) -> str:
        return str(work.send_with_options(args=(name, key), **options).message_id)

    def waits(message_id: str) -> None:
        wait_for("it waits", lambda: broker.store.message(message_id).state is MessageState.WAITING)

    broker.store.limits.set("shared", rates=(Rate.parse("1/1h"),))
    broker.store.limits.set("other", rates=(Rate.parse("1/1h"),))
    start()
    ended(send("first"))
    for free in ([], "100/1s", "unknown-name", "work"):  # its own name again: counted once
        ended(send("free", rate_limit=free))
    ended(send("other", rate_limit=["100/1s", "other"]))
    waiting = [send("second"), send("third", rate_limit="other"), send("fourth", rate_limit="shared")]
    ended(send("other of another key", key="l", rate_limit="other"))
    for message_id in waiting:
        waits(message_id)
    broker.store.limits.set("work", rates=(Rate.parse("1/1h"),))
    ended(send("under the operator's", key="m", rate_limit="100/1s"))
    waiting.append(send("fifth", key="m", rate_limit="100/1s"))
    broker.store.limits.set("work", rates=())  # off, for all
    ended(send("off", key="n", rate_limit="1/1h"))
    ended(send("off again", key="n", rate_limit="1/1h"))
    ended(waiting.pop())
    assert not {"second", "third", "fourth"} & set(ran)
    assert broker.store.counts("default").messages[MessageState.WAITING] == 3


def test_concurrency_and_holds_count_messages_with_rates_of_their_own(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    runs: list[tuple[int, int]] = []
    go_on = threading.Event()

    @dramatiq.actor(concurrency=2)
    def work(n: int) -> None:
        began = time.monotonic_ns()
        go_on.wait(0.05)
        runs.append((began, time.monotonic_ns()))

    start()
    broker.store.limits.hold("work", 60_000)
    sent = [work.send_with_options(args=(n,), rate_limit=f"{100 + n % 3}/1s") for n in range(9)]
    wait_for("they wait", lambda: counted(broker, "limit_waits|work") >= 1)
    assert not runs
    broker.store.limits.release("work")
    for message in sent:
        ended(message.message_id)
    assert most_at_once(runs) == 2

"""One scheduler turn by turn, in this process: deaths between two steps, refusals, many ticks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dramatiq
import periodiq
import pytest

from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidMessage, InvalidOption, LockstepError, RedisUnavailable
from lockstep.failures import Failures
from lockstep.scheduler import CATCH_UP_LIMIT, Scheduler, SchedulerThread, decide, declared
from lockstep.schedules import CatchUp, tick_id
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.schedulers import Ticks
from tests.support.waiting import PATIENCE, wait_for

MINUTE, HOUR = 60_000, 3_600_000


class Died(Exception):
    """The process ends here."""


@pytest.fixture
def other(settings: Settings) -> Any:
    """The broker of another process, with the same actors."""
    made = make_broker(settings)
    yield made
    made.close()


@pytest.fixture
def declare(
    broker: LockstepBroker, other: LockstepBroker, ticks: Ticks
) -> Callable[..., tuple[Any, Any, int]]:
    """Declare ``tick.one`` in two processes; answers a scheduler of each, and the last of five missed ticks."""

    def declare(catch_up: str = "all", expression: str = "", **options: Any) -> tuple[Any, Any, int]:
        expression = expression or ticks.cron(30)
        for one in (broker, other):
            dramatiq.actor(
                lambda: None,
                broker=one,
                actor_name="tick.one",
                queue_name="ticks",
                periodic=periodiq.cron(expression),
                catch_up=catch_up,
                **options,
            )
        last = (ticks.minute - 30) * MINUTE
        one, two = Scheduler(broker, declared(broker)), Scheduler(other, declared(other))
        one.run_once()
        assert ticks.patch("tick.one", mark=last - 5 * HOUR)
        return one, two, last

    return declare


def dies(*args: Any, **kwargs: Any) -> None:
    raise Died


def test_it_dies_before_it_enqueues(
    declare: Any, broker: LockstepBroker, ticks: Ticks, monkeypatch: Any
) -> None:
    one, two, last = declare()
    monkeypatch.setattr(broker, "enqueue_many", dies)
    with pytest.raises(Died):
        one.run_once()

    assert two.run_once() > 0.5  # claimed: somebody else may be about to send them
    assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (0, last - 5 * HOUR)
    assert ticks.patch("tick.one", claimed=1)  # as if its time were over
    two.run_once()

    assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (5, last)


def test_it_dies_before_it_moves_the_mark(declare: Any, broker: Any, ticks: Ticks, monkeypatch: Any) -> None:
    one, two, last = declare()
    monkeypatch.setattr(broker.store.schedules, "mark", dies)
    with pytest.raises(Died):
        one.run_once()
    assert ticks.sent() == 5

    ticks.patch("tick.one", claimed=1)
    two.run_once()

    assert (ticks.sent(), ticks.duplicates(), ticks.record("tick.one").mark_ms) == (5, 5, last)


def test_one_that_stood_still_for_longer_than_its_claim_sends_nothing(
    declare: Any, ticks: Ticks, monkeypatch: Any
) -> None:
    one, _, last = declare()
    clock = iter([0.0, 0.0])  # when it asks, and when it claims
    monkeypatch.setattr("lockstep.scheduler.time", SimpleNamespace(monotonic=lambda: next(clock, 1000.0)))
    one.run_once()
    assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (0, last - 5 * HOUR)


def test_redis_goes_away_in_the_middle(declare: Any, broker: Any, ticks: Ticks, monkeypatch: Any) -> None:
    one, _, last = declare()
    with monkeypatch.context() as patch:
        patch.setattr(broker, "enqueue_many", lambda *_: (_ for _ in ()).throw(RedisUnavailable("away")))
        with pytest.raises(RedisUnavailable):
            one.run_once()
    one.run_once()  # it has the claim already
    assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (5, last)


class Off(LockstepError):
    """Nothing is accepted at present."""


@pytest.fixture
def off(broker: Any, monkeypatch: Any) -> Any:
    """A context in which sends are refused, for now."""
    monkeypatch.setattr(
        "lockstep.scheduler.http_status", lambda error: 503 if isinstance(error, Off) else 500
    )

    @contextmanager
    def refusing() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(broker, "enqueue_many", lambda *_: (_ for _ in ()).throw(Off()))
            yield

    return refusing


@pytest.mark.parametrize(("policy", "sent"), [("last", 1), ("all", 5)])
def test_ticks_wait_while_nothing_is_accepted(
    declare: Any, off: Any, ticks: Ticks, policy: str, sent: int
) -> None:
    one, _, last = declare(policy)
    with off():
        for _ in range(3):
            assert one.run_once() > 0.5
            assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (0, last - 5 * HOUR)
    one.run_once()
    assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (sent, last)


def test_a_queue_that_is_nearly_full_takes_them_one_by_one(
    declare: Any, broker: Any, off: Any, ticks: Ticks, monkeypatch: Any
) -> None:
    one, _, last = declare("all")
    send = broker.enqueue_many

    def send_one(messages: list[Any]) -> Any:
        if len(messages) > 1:
            raise Off
        return send(messages)

    monkeypatch.setattr(broker, "enqueue_many", send_one)
    for sent in (1, 2, 3, 4, 5):
        one.run_once()
        assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (sent, last - (5 - sent) * HOUR)


def test_a_tick_that_nothing_accepts_is_skipped_by_policy_once_it_is_late(
    declare: Any, off: Any, ticks: Ticks, monkeypatch: Any
) -> None:
    one, _, last = declare("skip")
    ticks.patch("tick.one", mark=last - 1)
    with off():
        monkeypatch.setattr("lockstep.scheduler.LATE_MS", HOUR)  # it is in time
        assert one.run_once() > 0.5
        assert ticks.record("tick.one").mark_ms == last - 1
        monkeypatch.setattr("lockstep.scheduler.LATE_MS", MINUTE)
        one.run_once()
    assert (ticks.sent(), ticks.record("tick.one").mark_ms) == (0, last)


def test_an_actor_that_refuses_is_skipped_and_stops_no_other(declare: Any, broker: Any, ticks: Ticks) -> None:
    def refuse() -> None:
        raise InvalidMessage("/kwargs", "not today")

    one, _, last = declare(validate=refuse)
    for actor in ("a.before", "z.after"):
        dramatiq.actor(
            lambda: None,
            broker=broker,
            actor_name=actor,
            queue_name="ticks",
            periodic=periodiq.cron(ticks.cron(30)),
        )
    one = Scheduler(broker, declared(broker))
    one.run_once()
    for actor in ("a.before", "z.after", "tick.one"):
        ticks.patch(actor, mark=last - 5 * HOUR, claimed=0)
    one.run_once()
    assert ticks.sent() == 2
    assert {ticks.record(actor).mark_ms for actor in ("a.before", "z.after", "tick.one")} == {last}
    assert ticks.record("tick.one").tick_ms is None


def test_at_most_a_thousand_are_caught_up(declare: Any, broker: Any, ticks: Ticks) -> None:
    one, _, _ = declare("all", "* * * * *")
    now = ticks.now() // MINUTE * MINUTE
    ticks.patch("tick.one", mark=now - 5000 * MINUTE)
    one.run_once()
    assert ticks.sent() == CATCH_UP_LIMIT
    last = ticks.record("tick.one").mark_ms
    assert last - now in (0, MINUTE)
    first = tick_id("tick.one", last - (CATCH_UP_LIMIT - 1) * MINUTE)
    assert broker.store.message(first).sequence == 1
    assert broker.store.message(tick_id("tick.one", last)).sequence == CATCH_UP_LIMIT


def test_a_new_schedule_begins_with_its_next_tick(declare: Any, broker: Any, ticks: Ticks) -> None:
    one, _, _ = declare("all", "* * * * *")
    now = ticks.now()
    ticks.patch("tick.one", mark=now)
    assert 0 < one.run_once() <= 2.0  # a sign of life each two seconds
    assert ticks.sent() == 0


def test_a_changed_expression_goes_on_from_where_it_was_seen(declare: Any, ticks: Ticks) -> None:
    _, two, last = declare("all")
    ticks.patch("tick.one", mark=last - 500 * HOUR)  # yearly, say: nothing was due
    (schedule,) = two._schedules
    two._schedules = [type(schedule)("tick.one", "* * * * *", schedule.catch_up)]
    two.run_once()
    assert ticks.sent() in (1, 2)  # of the last minute, not of weeks


def test_decisions() -> None:
    now = 10 * HOUR
    in_time, late = now - MINUTE, now - MINUTE - 1
    for policy in CatchUp:
        assert decide(policy, [in_time], now) == [in_time]
    assert decide(CatchUp.SKIP, [late], now) == []
    assert decide(CatchUp.LAST, [late], now) == [late]
    assert decide(CatchUp.SKIP, [late, now], now) == []
    assert decide(CatchUp.LAST, [late, now], now) == [now]
    assert decide(CatchUp.ALL, [late, now], now) == [late, now]


def test_the_tick_of_a_message_is_in_its_options(declare: Any, broker: Any, ticks: Ticks) -> None:
    one, _, last = declare("last", group="reports")
    one.run_once()
    record = broker.store.message(tick_id("tick.one", last))
    assert (record.group, record.state) == ("reports", MessageState.WAITING)
    options = broker.encoder.decode(record.payload)["options"]
    assert options["scheduled_at"] == f"{tick_id('', last)[10:-1]}:00.000Z"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"periodic": "5/15 * * * *"}, "work: periodic: '5/15 \\* \\* \\* \\*': cron and periodiq"),
        ({"periodic": 5}, "work: periodic: expected periodiq.cron"),
        ({"periodic": periodiq.cron("* * * * *"), "catch_up": "some"}, "work: catch_up: expected skip, last"),
        ({"catch_up": "last"}, "work: catch_up: only for a periodic actor"),
        ({"time_zone": "Europe/Berlin"}, "work: time_zone: only for a periodic actor"),
        ({"periodic": "* * * * *", "time_zone": "Mars/Base"}, "work: periodic: no time zone 'Mars/Base'"),
        ({"periodic": "* * * * *", "time_zone": "../etc"}, "work: periodic: no time zone"),
        ({"periodic": "* * * * *", "time_zone": ""}, "work: periodic: no time zone"),
        ({"periodic": "* * * * *", "time_zone": 5}, "work: periodic: no time zone"),
        ({"periodic": "* * * * *", "actor_name": "x" * 102}, "its name has more than 101 characters"),
    ],
)
def test_what_could_never_be_kept_is_not_declared(
    broker: LockstepBroker, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidOption, match=said):
        dramatiq.actor(lambda: None, broker=broker, **{"actor_name": "work", **options})
    assert broker.actors == {}


def test_an_actor_that_needs_arguments_cannot_be_periodic(broker: LockstepBroker) -> None:
    with pytest.raises(
        InvalidOption, match="work: periodic: it is sent without arguments, /kwargs/n: missing"
    ):
        dramatiq.actor(lambda n: None, broker=broker, actor_name="work", periodic="* * * * *")


def test_none_is_not_periodic(broker: LockstepBroker) -> None:
    dramatiq.actor(lambda: None, broker=broker, actor_name="work", periodic=None)
    assert declared(broker) == []


def test_periodiqs_own_scheduler_sends_one_message_a_tick(
    declare: Any, broker: Any, other: Any, ticks: Ticks
) -> None:
    declare("last", "* * * * *")
    now = periodiq.pendulum.from_timestamp(ticks.now() // 1000)
    for one in (broker, other):
        periodiq.Scheduler(list(one.actors.values())).send_actors(list(one.actors.values()), now)
    assert (ticks.sent(), ticks.duplicates()) == (1, 1)
    assert broker.store.message(tick_id("tick.one", int(now.timestamp()) // 60 * MINUTE))


def test_a_defect_ends_the_thread_and_is_told(declare: Any, monkeypatch: Any) -> None:
    one, _, _ = declare()
    monkeypatch.setattr(one, "run_once", dies)
    told = threading.Event()
    thread = SchedulerThread(one, told.set)
    thread.failures = Failures("scheduler.failed", times=3, seconds=0.0)
    thread.start()
    assert told.wait(PATIENCE)
    thread.join(PATIENCE)
    assert thread.broken
    assert thread.failures.count == 3


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(), MemoryError()])
def test_one_defect_ends_no_scheduler(declare: Any, monkeypatch: Any, error: BaseException) -> None:
    one, _, _ = declare()
    real, calls = one.run_once, []

    def dies_once() -> float:
        calls.append(None)
        if len(calls) == 1:
            raise error
        return float(real())

    monkeypatch.setattr(one, "run_once", dies_once)
    thread = SchedulerThread(one, lambda: None)
    thread.start()
    wait_for("it beats", lambda: thread.beating)
    thread.stop()
    thread.join(PATIENCE)
    assert not thread.broken

"""Dead letters live again: at the tail, at the head, in their original order."""

from typing import Any

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, SLACK_MS, Shard, message, row, settlement

DEAD_LISTS = {"dead", "dead_order", "dead_actors", "kinds"}


def order(shard: Shard, group: str = "a") -> list[str]:
    """The ids of a group's list."""
    ids: list[str] = shard.snapshot().get(f"group:g:{group}", [])
    return ids


@pytest.fixture
def buried(shard: Shard) -> Shard:
    """A group whose first three are dead, and whose fourth and fifth wait."""
    shard.enqueue(*(message(id_, "a") for id_ in "12345"))
    shard.bury("1", "2", "3")
    return shard


def test_to_the_tail(buried: Shard) -> None:
    before, now = buried.snapshot(), buried.near()
    assert buried.redrive("2", "1", "unknown", "4")[2] == ["1", "2"]
    changed = buried.changes(before)
    kind = next(name for name in before if name.startswith("kind:"))
    assert changed.keys() == {"messages", "group:g:a", "dead", "dead_order", "dead_actors", "meta", kind}
    assert changed["group:g:a"] == ["4", "5", "1", "2"]
    assert changed["dead"] == {"3": now}
    assert changed["dead_order"] == {"3": 3}
    assert changed["dead_actors"] == {"act": "1"}
    assert changed[kind] == {"3": now}
    assert changed["meta"]["seq"] == "7"
    history = [["w", now, now, "dead", ""]]
    lives = {"history": history, "extra": {"redriven": 1}}
    assert changed["messages"]["1"] == row("g:a", 6, now, **lives)
    assert changed["messages"]["2"] == row("g:a", 7, now, **lives)


def test_to_the_head(buried: Shard) -> None:
    before, now = buried.snapshot(), buried.near()
    buried.redrive("3", "1", order="head")
    changed = buried.changes(before)
    assert changed["group:g:a"] == ["1", "3", "4", "5"]
    assert "ready" not in changed
    history = [["w", now, now, "dead", ""]]
    assert changed["messages"]["1"] == row("g:a", 1, now, history=history, extra={"redriven": 1})
    buried.redrive("2", order="head")
    assert order(buried) == ["1", "2", "3", "4", "5"]
    assert [buried.lease().id for _ in range(1)] == ["1"]
    assert not buried.snapshot().keys() & DEAD_LISTS


def test_its_attempts_start_anew_and_its_history_stays(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY))
    one = settlement(shard.lease(), Verb.DEAD_LETTER, reason="why", result=b"failed", result_ttl_ms=HOUR)
    shard.settle(one)
    shard.redrive("1")
    assert "result:1" not in shard.snapshot()
    lease = shard.lease()
    assert (lease.failures, lease.crashes) == (0, 0)
    shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="again"))
    shard.redrive("1", order="head")
    stored = shard.snapshot()["messages"]["1"]
    assert [attempt[3] for attempt in stored[8]] == ["retry", "dead", "dead"]
    assert stored[13] == {"redriven": 2}


def began(shard: Shard, how: str) -> None:
    """Let the head of the group begin, in one of the ways in which it stays the head."""
    lease = shard.lease()
    options: dict[str, Any] = {
        "retry": {"verb": Verb.RETRY},
        "backoff": {"verb": Verb.RETRY, "delay_ms": HOUR},
        "limited": {"verb": Verb.RELEASE, "delay_ms": HOUR},
        "interrupted": {"verb": Verb.RELEASE, "reason": "shutdown"},
        "parked": {"verb": Verb.RELEASE, "delay_ms": HOUR, "park": True},
    }.get(how, {})
    if options:
        shard.settle(settlement(lease, **options))
    elif how == "crashed":
        shard.expire(lease.ref)
        shard.reap()
    elif how == "was limited":
        shard.settle(settlement(lease, Verb.RELEASE, delay_ms=HOUR))
        shard.redis.zadd(shard.key("blocked"), {"g:a": 1})
        shard.reap()


@pytest.mark.parametrize(
    "how",
    ["running", "retry", "backoff", "limited", "was limited", "interrupted", "parked", "crashed"],
)
def test_what_has_begun_stays_the_head(buried: Shard, how: str) -> None:
    began(buried, how)
    before = buried.snapshot()
    buried.redrive("3", "1", order="head")
    assert order(buried) == ["4", "1", "3", "5"]
    buried.redrive("2", order="head")
    assert order(buried) == ["4", "1", "2", "3", "5"]
    assert not buried.changes(before).keys() & {"leases", "expiries", "blocked", "ready"}


def test_one_that_was_claimed_and_had_not_started_does_not_stay_the_head(buried: Shard) -> None:
    buried.settle(settlement(buried.lease(), Verb.RELEASE))
    buried.redrive("1", order="head")
    assert order(buried) == ["1", "4", "5"]
    assert buried.lease().id == "1"


def test_it_goes_before_a_head_that_waits_for_its_time(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.bury("1")
    shard.enqueue(message("2", "a", delay=HOUR, hold_place=True))
    assert shard.state("2") == "backoff"
    shard.redrive("1", order="head")
    assert order(shard) == ["1", "2"]
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    assert shard.claim().leases == []
    assert shard.state("2") == "backoff"


@pytest.mark.parametrize("to", ["tail", "head"])
def test_a_group_that_had_none_left_is_ready_again(shard: Shard, to: str) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3"))
    shard.bury("1", "2")
    shard.bury("3")
    assert shard.redrive(order=to)[2] == ["1", "2", "3"]
    state = shard.snapshot()
    assert state["ready"] == ["g:a", "m:3"]
    assert state["wake"] == ["1"]
    assert [lease.id for lease in shard.claim(5).leases] == ["1", "3"]


@pytest.mark.parametrize("to", ["tail", "head"])
def test_a_paused_group_stays_paused(buried: Shard, to: str) -> None:
    buried.run("pause", "g:a")
    before = buried.snapshot()
    buried.redrive(order=to)
    assert not buried.changes(before).keys() & {"ready", "halted", "paused"}
    assert buried.claim().leases == []
    buried.run("resume", "g:a")
    assert buried.lease().id == ("1" if to == "head" else "4")


@pytest.mark.parametrize("to", ["tail", "head"])
def test_one_that_blocks_its_group_is_revived_in_place(shard: Shard, to: str) -> None:
    shard.enqueue(message("1", "a", blocks=True), message("2", "a"))
    shard.bury("1")
    assert shard.claim().leases == []
    shard.redrive("1", order=to)
    state = shard.snapshot()
    assert "blocked" not in state
    assert state["group:g:a"] == ["1", "2"]
    lease = shard.lease()
    assert (lease.id, lease.sequence) == ("1", 1)


def test_what_goes_to_the_head_of_a_blocked_group_waits_behind_what_blocks_it(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a", blocks=True), message("3", "a"))
    shard.bury("1", "2")
    shard.redrive("1", order="head")
    assert order(shard) == ["2", "1", "3"]
    assert shard.claim().leases == []
    shard.redrive("2", order="head")
    assert order(shard) == ["1", "2", "3"]
    assert shard.lease().id == "1"


def test_a_limited_group_gives_way_to_the_new_head(buried: Shard) -> None:
    buried.redis.hset(buried.limits, "run:rate:act", "1/3600000/1/fleet")
    buried.redis.rpush(f"{buried.limits}:log:act", int(buried.now()))
    assert buried.claim().leases == []
    assert "limited" in buried.snapshot()
    buried.redrive("1", order="head")
    state = buried.snapshot()
    assert not state.keys() & {"limited", "lane:act", "lanes"}
    assert (state["ready"], state["group:g:a"]) == (["g:a"], ["1", "4", "5"])


def test_at_a_rate_each_is_scheduled_later_than_the_one_before(buried: Shard) -> None:
    now = buried.now()
    place, next_at, ids = buried.redrive(interval=HOUR, most=2)
    assert ids == ["1", "2"]
    _, _, rest = buried.redrive(interval=HOUR, not_before=next_at, after=place)
    assert rest == ["3"]
    assert [buried.state(id_) for id_ in "123"] == ["waiting", "scheduled", "scheduled"]
    due = {member[16:]: ms - now for member, ms in buried.snapshot()["scheduled"].items()}
    assert due == {"2": pytest.approx(HOUR, abs=SLACK_MS), "3": pytest.approx(2 * HOUR, abs=SLACK_MS)}
    assert buried.snapshot()["wake"] == ["1"]
    buried.redis.zadd(buried.key("scheduled"), dict.fromkeys(buried.snapshot()["scheduled"], 1))
    buried.reap()
    assert order(buried) == ["4", "5", "1", "2", "3"]


def test_at_a_rate_one_that_blocks_its_group_waits_at_its_place(shard: Shard) -> None:
    shard.enqueue(message("0"), message("1", "a", blocks=True), message("2", "a"))
    shard.bury("0", "1")
    shard.redrive(interval=HOUR)
    assert shard.snapshot()["blocked"] == {"g:a": shard.near(HOUR)}
    assert [shard.state(id_) for id_ in "012"] == ["waiting", "backoff", "waiting"]


def test_a_resent_call_changes_nothing(buried: Shard) -> None:
    first = buried.redrive("1", number="7")
    buried.bury("4", "5", "1")
    before = buried.snapshot()
    assert buried.redrive("1", number="7") == first
    assert buried.changes(before) == {}


@pytest.mark.parametrize("id_", ["4", "5", "unknown"])
def test_what_is_not_dead_is_left_alone(buried: Shard, id_: str) -> None:
    before = buried.snapshot()
    assert buried.redrive(id_)[2] == []
    assert buried.discard(id_) == []
    assert buried.changes(before) == {}


def test_a_dry_run_changes_nothing(buried: Shard) -> None:
    before = buried.snapshot()
    assert buried.redrive(dry=True)[2] == ["1", "2", "3"]
    assert buried.discard(dry=True) == ["1", "2", "3"]
    assert buried.redrive("2", dry=True)[2] == ["2"]
    assert buried.changes(before) == {}


def test_another_death_than_the_operator_saw_is_left_alone(buried: Shard) -> None:
    assert buried.redrive(died_by=buried.now(-HOUR))[2] == []
    assert buried.redrive("1", died_by=buried.now(-HOUR))[2] == []
    assert buried.redrive(died_by=buried.now())[2] == ["1", "2", "3"]


@pytest.mark.parametrize("to", ["tail", "head"])
def test_the_original_order_holds_over_batches_and_lives(shard: Shard, to: str) -> None:
    shard.enqueue(*(message(id_, "a") for id_ in "12345678"))
    shard.bury("1", "2", "3")
    shard.redrive("1", order="head")
    shard.bury("1")  # it died after the others, and was accepted before them
    shard.bury("4", "5")
    place, done = "", []
    while True:
        place, _, ids = shard.redrive(order=to, most=2, after=place)
        done += ids
        if not place:
            break
    assert done == ["1", "2", "3", "4", "5"]
    assert order(shard) == list("12345678" if to == "head" else "67812345")

"""Ending leases, each by its token."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from lockstep.records import Lease
from lockstep.states import Verb
from tests.scripts.shard import HOUR, SLACK_MS, Shard, kind_of, listed_dead, message, row, settlement

ERROR = b'{"type":"E","message":"m","traceback":"","fingerprint":"f"}'


@pytest.fixture
def lease(shard: Shard) -> Lease:
    """The first of two messages of a group, claimed."""
    shard.enqueue(message("1", "a"), message("2", "a"))
    return shard.lease()


def ended(shard: Shard, outcome: str, error: str = "") -> list[Any]:
    """An attempt that began and ended about now."""
    return ["w", shard.near(), shard.near(), outcome, error]


def test_complete(shard: Shard, lease: Lease) -> None:
    before, now = shard.snapshot(), shard.near()
    assert shard.settle(settlement(lease, Verb.COMPLETE)) == [1]
    assert shard.changes(before) == {
        "leases": None,
        "expiries": None,
        "group:g:a": ["2"],
        "ready": ["g:a"],
        "wake": ["1"],
        "done": {"1": (lease.token, ["w", now], now)},
        "done_order": ["1"],
    }
    assert shard.state("1") == "done"


def test_completing_the_last_message_leaves_no_group(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2"))
    settlements = [settlement(lease, Verb.COMPLETE) for lease in shard.claim(2).leases]
    assert shard.settle(*settlements, keep=0) == [1, 1]
    assert shard.snapshot().keys() == {"meta", "stats"}


def test_complete_with_a_result_keeps_it_for_its_time_to_live(shard: Shard, lease: Lease) -> None:
    before = shard.snapshot()
    shard.settle(settlement(lease, Verb.COMPLETE, result=b"\xff42", result_ttl_ms=HOUR))
    assert shard.changes(before).keys() >= {"result:1", "done", "done_order"}
    assert shard.redis.get(shard.key("result:1")) == b"\xff42"
    assert HOUR - SLACK_MS <= shard.redis.pttl(shard.key("result:1")) <= HOUR


def test_retry_with_a_delay_blocks_the_group(shard: Shard, lease: Lease) -> None:
    before, now, later = shard.snapshot(), shard.near(), shard.near(HOUR)
    assert shard.settle(settlement(lease, Verb.RETRY, delay_ms=HOUR, error=ERROR)) == [1]
    history = [ended(shard, "retry", ERROR.decode())]
    assert shard.changes(before) == {
        "leases": None,
        "expiries": None,
        "blocked": {"g:a": later},
        "messages": before["messages"] | {"1": row("g:a", 1, now, failures=1, history=history)},
    }
    assert shard.state("1") == "backoff"
    assert shard.claim().leases == []


def test_retry_without_a_delay_goes_before_other_groups(shard: Shard, lease: Lease) -> None:
    shard.enqueue(message("3", "b"))
    before = shard.snapshot()
    shard.settle(settlement(lease, Verb.RETRY))
    changes = shard.changes(before)
    assert changes.keys() == {"leases", "expiries", "messages", "ready"}
    assert changes["ready"] == ["g:a", "g:b"]
    assert shard.state("1") == "waiting"


def test_dead_letter_lets_the_group_go_on(shard: Shard, lease: Lease) -> None:
    before, now = shard.snapshot(), shard.near()
    assert shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="max_attempts", error=ERROR)) == [1]
    history = [ended(shard, "dead", ERROR.decode())]
    extra = {"kind": kind_of("E", "f")}
    buried = row("g:a", 1, now, failures=1, history=history, died=now, reason="max_attempts", extra=extra)
    assert shard.changes(before) == {
        "leases": None,
        "expiries": None,
        **listed_dead("1", now, "E", "f", text="m"),
        "messages": before["messages"] | {"1": buried},
        "group:g:a": ["2"],
        "ready": ["g:a"],
        "wake": ["1"],
    }
    assert shard.state("1") == "dead"


def test_a_death_that_blocks_keeps_the_group_for_an_operator(shard: Shard) -> None:
    shard.enqueue(message("1", "a", blocks=True), message("2", "a"))
    before_claim = shard.snapshot()
    lease = shard.lease()
    before, now = shard.snapshot(), shard.near()
    shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="max_attempts"))
    history, extra = [ended(shard, "dead")], {"kind": kind_of("max_attempts")}
    dead = {"died": now, "reason": "max_attempts", "blocks": 1, "extra": extra}
    buried = row("g:a", 1, now, failures=1, history=history, **dead)
    assert shard.changes(before) == {
        "leases": None,
        "expiries": None,
        **listed_dead("1", now, "max_attempts"),
        "blocked": {"g:a": float("inf")},
        "messages": before_claim["messages"] | {"1": buried},
    }
    shard.enqueue(message("3", "a"))
    shard.reap()
    assert shard.claim().leases == []
    assert [shard.state(id_) for id_ in "123"] == ["dead", "waiting", "waiting"]


def test_a_message_without_a_group_blocks_nobody(shard: Shard) -> None:
    shard.enqueue(message("1", blocks=True))
    shard.settle(settlement(shard.lease(), Verb.DEAD_LETTER, reason="max_attempts"))
    state = shard.snapshot()
    lists = listed_dead("1", shard.near(), "max_attempts")
    assert state.keys() == {"meta", "messages", "stats"} | lists.keys()
    assert {name: state[name] for name in lists} == lists


def test_release_of_one_that_had_not_started_leaves_no_attempt(shard: Shard, lease: Lease) -> None:
    before = shard.snapshot()
    assert shard.settle(settlement(lease, Verb.RELEASE)) == [1]
    assert shard.changes(before) == {"leases": None, "expiries": None, "ready": ["g:a"], "wake": ["1"]}


def test_release_of_one_that_had_started_is_no_failure(shard: Shard, lease: Lease) -> None:
    before, now = shard.snapshot(), shard.near()
    shard.settle(settlement(lease, Verb.RELEASE, reason="shutdown"))
    released = row("g:a", 1, now, history=[ended(shard, "released")], extra={"begun": True})
    assert shard.changes(before)["messages"] == before["messages"] | {"1": released}


def test_release_parks_and_remembers_since_when(shard: Shard, lease: Lease) -> None:
    before, now, later = shard.snapshot(), shard.near(), shard.near(HOUR)
    shard.settle(settlement(lease, Verb.RELEASE, delay_ms=HOUR, park=True))
    assert shard.changes(before) == {
        "leases": None,
        "expiries": None,
        "blocked": {"g:a": later},
        "messages": before["messages"] | {"1": row("g:a", 1, now, parked=now)},
    }
    parked = shard.snapshot()["messages"]["1"]
    shard.redis.zadd(shard.key("blocked"), {"g:a": 1})
    again = shard.lease()
    assert again.parked_ms == now
    shard.settle(settlement(again, Verb.RELEASE, delay_ms=HOUR, park=True))
    assert shard.snapshot()["messages"]["1"] == parked


@pytest.mark.parametrize("verb", list(Verb))
def test_a_stale_token_changes_nothing(shard: Shard, lease: Lease, verb: Verb) -> None:
    shard.expire("g:a")
    shard.reap()
    held_by_another = shard.lease()
    before = shard.snapshot()
    options: dict[str, Any] = (
        {"result": b"r", "result_ttl_ms": HOUR} if verb is Verb.COMPLETE else {"delay_ms": HOUR}
    )
    stale = settlement(lease, verb, reason="why", error=ERROR, **options)
    assert shard.settle(stale) == [0]
    assert shard.changes(before) == {}
    assert held_by_another.id == lease.id


@pytest.mark.parametrize("verb", list(Verb))
def test_a_token_that_was_settled_holds_nothing(shard: Shard, lease: Lease, verb: Verb) -> None:
    shard.settle(settlement(lease, Verb.COMPLETE))
    before = shard.snapshot()
    assert shard.settle(settlement(lease, verb, delay_ms=HOUR)) == [0]
    assert shard.changes(before) == {}


def test_a_token_settles_only_the_message_that_it_leases(shard: Shard, lease: Lease) -> None:
    before = shard.snapshot()
    assert shard.settle(settlement(lease._replace(id="2"), Verb.COMPLETE)) == [0]
    assert shard.changes(before) == {}


@pytest.mark.parametrize("verb", list(Verb))
def test_a_resent_call_answers_as_before_and_changes_nothing(shard: Shard, lease: Lease, verb: Verb) -> None:
    one, counters = settlement(lease, verb), {"attempts|act|done": 1}
    assert shard.settle(one, number="5", counters=counters) == [1]
    before = shard.snapshot()
    assert shard.settle(one, number="5", counters=counters) == [1]
    assert shard.changes(before) == {}


def test_each_settlement_of_a_call_stands_for_itself(shard: Shard) -> None:
    shard.enqueue(*(message(id_, id_) for id_ in "abcd"))
    a, b, c, d = shard.claim(4).leases
    shard.settle(settlement(b, Verb.COMPLETE))
    answers = shard.settle(
        settlement(a, Verb.COMPLETE, result=b"r", result_ttl_ms=HOUR),
        settlement(b, Verb.RETRY),
        settlement(c, Verb.RETRY, delay_ms=HOUR),
        settlement(d, Verb.DEAD_LETTER, reason="why"),
    )
    assert answers == [1, 0, 1, 1]
    assert [shard.state(id_) for id_ in "abcd"] == ["done", "done", "backoff", "dead"]


def test_only_the_youngest_finished_records_are_kept(shard: Shard) -> None:
    shard.enqueue(*(message(id_) for id_ in "abcde"))
    for lease in shard.claim(5).leases:
        shard.settle(settlement(lease, Verb.COMPLETE), keep=2)
    state = shard.snapshot()
    assert state["done_order"] == ["d", "e"]
    assert state["done"].keys() == state["messages"].keys() == {"d", "e"}


def test_a_batch_larger_than_the_records_to_keep_is_trimmed_too(shard: Shard) -> None:
    shard.enqueue(*(message(id_) for id_ in "abcde"))
    shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in shard.claim(5).leases), keep=2)
    state = shard.snapshot()
    assert state["done_order"] == ["d", "e"]
    assert state["done"].keys() == state["messages"].keys() == {"d", "e"}


def test_an_unknown_verb_writes_nothing(shard: Shard, lease: Lease) -> None:
    before = shard.snapshot()
    known = ("complete", lease.ref, lease.token, lease.id)
    with pytest.raises(ResponseError):
        shard.run(
            "settle", "settler", "1", 10, "0", 1, "counter", 1, *known, "vanish", "g:b", lease.token, "9"
        )
    assert shard.changes(before) == {}
    assert "settler" not in shard.sessions()


def test_counters_are_added(shard: Shard) -> None:
    shard.settle(counters={"lease_lost": 2, "attempts|act|done": 1})
    shard.settle(counters={"lease_lost": 3})
    assert shard.snapshot() == {"stats": {"lease_lost": "5", "attempts|act|done": "1"}}


def test_a_claim_that_follows_needs_no_wake_up(shard: Shard, lease: Lease) -> None:
    assert "wake" not in shard.snapshot()
    shard.settle(settlement(lease, Verb.COMPLETE), follows=True)
    state = shard.snapshot()
    assert state["ready"] == ["g:a"]
    assert "wake" not in state


def test_a_message_that_fails_for_ever_does_not_grow_for_ever(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    for number in range(25):
        shard.settle(settlement(shard.lease(), Verb.RETRY, error=str(number).encode()))
    kept = shard.snapshot()["messages"]["1"]
    assert kept[5] == 25
    assert [attempt[4] for attempt in kept[8]] == [str(number) for number in range(5, 25)]


def test_a_lease_whose_row_redis_lost_ends(shard: Shard, lease: Lease) -> None:
    shard.redis.hdel(shard.key("messages"), "1")
    assert shard.settle(settlement(lease, Verb.RETRY)) == [0]
    state = shard.snapshot()
    assert "leases" not in state
    assert "expiries" not in state


def test_far_fewer_records_to_keep_go_step_by_step(shard: Shard, lease: Lease) -> None:
    ids = [str(number) for number in range(10_000, 19_000)]
    shard.redis.rpush(shard.key("done_order"), *ids)
    assert shard.settle(settlement(lease, Verb.COMPLETE), keep=10) == [1]
    assert shard.redis.llen(shard.key("done_order")) == 9_001 - 1000
    assert shard.lease().id == "2"


def test_a_group_whose_running_message_redis_lost_goes_on(shard: Shard, lease: Lease) -> None:
    shard.redis.hdel(shard.key("messages"), "1")
    assert shard.settle(settlement(lease, Verb.RETRY, error=ERROR)) == [0]
    assert shard.lease().id == "2"


# -- follow-up messages ------------------------------------------------------------------------------------------


def outbox(shard: Shard) -> list[bytes]:
    return list(shard.redis.zrange(shard.key("outbox"), 0, -1))


def test_follow_ups_are_stored_with_the_settlement_that_they_belong_to(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"), message("3", "c"))
    first, second, third = shard.claim(3).leases
    stale = second._replace(token=second.token[:-1] + "~")
    settlements = [
        settlement(stale, Verb.COMPLETE, follow_ups=(b"of a lost lease",)),
        settlement(first, Verb.COMPLETE, result=b"42", result_ttl_ms=HOUR, follow_ups=(b"\xff1", b"2")),
        settlement(third, Verb.DEAD_LETTER, reason="r", error=ERROR, follow_ups=(b"3",)),
    ]
    assert shard.settle(*settlements, number="7") == [0, 1, 1]
    assert sorted(outbox(shard)) == [b"2", b"3", b"\xff1"]
    assert shard.redis.get(shard.key("result:1")) == b"42"
    shard.redis.delete(shard.key("outbox"))
    assert shard.settle(*settlements, number="7") == [0, 1, 1]  # the reply was lost: nothing is stored again
    assert outbox(shard) == []


def test_a_message_that_is_cancelled_instead_is_followed_by_nothing(shard: Shard, lease: Lease) -> None:
    shard.run("cancel", "1")
    dead = settlement(lease, Verb.DEAD_LETTER, reason="r", error=ERROR, follow_ups=(b"1",))
    assert shard.settle(dead) == [2]
    assert outbox(shard) == []


def test_what_nobody_delivered_is_found_by_the_reaper(shard: Shard, lease: Lease) -> None:
    shard.settle(settlement(lease, Verb.COMPLETE, follow_ups=(b"1",)))
    assert shard.reap().owed == []  # its consumer has it now
    now = shard.redis.time()[0] * 1000
    late = {f"late {number}": now - 60_000 for number in range(30)}
    shard.redis.zadd(shard.key("outbox"), {"first": now - HOUR, **late})
    owed = shard.reap().owed
    assert owed[0] == b"first"
    assert len(owed) == 20  # of a large backlog, some
    assert b"1" not in owed
    shard.redis.zrem(shard.key("outbox"), *outbox(shard))
    assert shard.reap().owed == []

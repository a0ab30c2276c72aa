"""Leasing heads: one of a group, in turn, each with a token that proves it."""

import pytest

from lockstep.states import Verb
from tests.scripts.shard import (
    EPOCH,
    GARBAGE,
    HOUR,
    LEASE_MS,
    NONCE,
    SLACK_MS,
    Shard,
    message,
    row,
    settlement,
)


def test_at_most_one_of_a_group_is_leased(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "b"), message("4"))
    before, now = shard.snapshot(), shard.near()
    claim = shard.claim(10)
    assert [(lease.ref, lease.id) for lease in claim.leases] == [("g:a", "1"), ("g:b", "3"), ("m:4", "4")]
    assert (claim.more, claim.next_due_ms) == (False, None)
    first, second, third = claim.leases
    assert shard.changes(before) == {
        "ready": None,
        "wake": None,
        "meta": {"seq": "4", "epoch": EPOCH, "fence": str(third.fence)},
        "leases": {lease.ref: (lease.token, ["w", now]) for lease in claim.leases},
        "expiries": dict.fromkeys(("g:a", "g:b", "m:4"), shard.near(LEASE_MS)),
    }
    assert shard.claim(10).leases == []
    assert first.fence < second.fence < third.fence


def test_a_lease_says_all_about_its_message(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY))
    shard.reap()
    held = shard.lease()
    shard.expire("g:a")
    shard.reap()
    lease = shard.lease()
    assert held.failures == 1
    assert lease.token == f"{EPOCH}:{lease.fence:016}:{NONCE}"
    assert (lease.actor, lease.payload, lease.sequence, lease.group) == ("act", b"p", 1, "a")
    assert (lease.failures, lease.crashes, lease.parked_ms) == (1, 1, 0)
    assert lease.enqueued_ms == shard.near()


def test_groups_take_turns_in_the_order_in_which_they_became_ready(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"), message("3", "a"), message("4", "b"))
    order = []
    for _ in range(4):
        lease = shard.lease()
        order.append(lease.id)
        shard.settle(settlement(lease, Verb.COMPLETE))
    assert order == ["1", "2", "3", "4"]


def test_what_a_claim_leaves_is_passed_on_with_the_wake_up(shard: Shard) -> None:
    shard.enqueue(message("1"), message("2"))
    assert shard.redis.delete(shard.key("wake")) == 1  # a consumer took it
    assert shard.claim().more
    assert shard.snapshot()["wake"] == ["1"]


def test_few_groups_are_shared_out_evenly(shard: Shard) -> None:
    shard.enqueue(*(message(str(number), f"g{number}") for number in range(5)))
    for claimer in ("a", "b"):
        shard.reap(claimer=claimer)
    first = shard.claim(10, held=0)
    assert [lease.id for lease in first.leases] == ["0", "1", "2"]
    assert (first.more, first.shared) == (True, True)
    beyond = shard.claim(10, held=3)
    assert (beyond.leases, beyond.more, beyond.shared) == ([], True, True)
    assert shard.snapshot()["wake"] == ["1"]
    second = shard.claim(10, session="other", held=0)
    assert [lease.id for lease in second.leases] == ["3", "4"]
    assert (second.more, second.shared) == (False, False)


def test_whoever_insists_or_is_alone_takes_more_than_its_share(shard: Shard) -> None:
    shard.enqueue(*(message(str(number), f"g{number}") for number in range(4)))
    shard.reap(claimer="a")
    assert len(shard.claim(2, held=0).leases) == 2
    shard.reap(claimer="b")
    assert shard.claim(10, held=2).leases == []
    assert len(shard.claim(10, held=-1).leases) == 2


def test_fences_rise_across_claims(shard: Shard) -> None:
    fences = []
    for number in range(5):
        shard.enqueue(message(str(number), "a"))
        lease = shard.lease()
        fences.append(lease.fence)
        shard.settle(settlement(lease, Verb.COMPLETE))
    assert fences == sorted(set(fences))


def test_fences_rise_though_redis_lost_the_last(shard: Shard) -> None:
    shard.enqueue(message("1"), message("2"))
    first = shard.lease()
    shard.redis.hdel(shard.key("meta"), "fence")
    assert shard.lease().fence > first.fence


def test_fences_rise_though_the_clock_stepped_back(shard: Shard) -> None:
    ahead = int(shard.now(HOUR)) * 1000
    shard.redis.hset(shard.key("meta"), "fence", str(ahead))
    shard.enqueue(message("1"))
    assert shard.lease().fence == ahead + 1


def test_a_resent_claim_answers_the_same_leases_and_takes_no_more(shard: Shard) -> None:
    shard.enqueue(*(message(str(number)) for number in range(5)))
    first = shard.claim(2, number="9")
    before = shard.snapshot()
    assert shard.claim(2, number="9").leases == first.leases
    assert shard.changes(before) == {}


def test_a_late_copy_of_an_earlier_claim_takes_nothing(shard: Shard) -> None:
    shard.enqueue(message("1"), message("2"))
    assert len(shard.claim(number="9").leases) == 1
    assert len(shard.claim(number="10").leases) == 1
    shard.enqueue(message("later"))
    before = shard.snapshot()
    assert shard.claim(number="9").leases == []
    assert shard.changes(before) == {}


def test_a_resent_claim_does_not_answer_leases_that_ended(shard: Shard) -> None:
    shard.enqueue(message("1"), message("2"))
    first = shard.claim(2, number="9")
    shard.expire("m:1")
    shard.reap()
    assert shard.claim(2, number="9").leases == first.leases[1:]
    shard.claim(1, session="other", nonce="o" * 16)
    assert shard.claim(2, number="9").leases == first.leases[1:]


def test_a_claim_of_nothing_leaves_nothing_behind(shard: Shard) -> None:
    shard.enqueue(message("1", delay=HOUR))
    shard.claim()
    before = shard.snapshot()
    claim = shard.claim(5)
    assert (claim.leases, claim.more) == ([], False)
    assert claim.next_due_ms is not None
    assert HOUR - SLACK_MS <= claim.next_due_ms <= HOUR
    assert shard.changes(before) == {}
    assert "claimer" not in shard.sessions()


@pytest.fixture
def former_life(shard: Shard) -> None:
    """A claimer was known in a former life of Redis, and a message waits."""
    shard.claim(epoch="former--")
    shard.reap(claimer="w1")
    shard.enqueue(message("1"))


@pytest.mark.usefixtures("former_life")
def test_after_a_restart_nobody_claims_while_a_holder_may_still_run(shard: Shard) -> None:
    before = shard.snapshot()
    claim = shard.claim()
    assert (claim.leases, claim.more) == ([], False)
    assert claim.next_due_ms is not None
    assert LEASE_MS - SLACK_MS <= claim.next_due_ms <= LEASE_MS
    changes = shard.changes(before)
    held_off = {name: changes["meta"][name] for name in ("hold_since", "hold_until")}
    assert changes == {"meta": before["meta"] | {"epoch": EPOCH} | held_off}
    assert float(held_off["hold_since"]) == shard.near()
    assert float(held_off["hold_until"]) == shard.near(LEASE_MS)

    before = shard.snapshot()
    assert shard.claim().leases == []
    assert shard.changes(before) == {}

    shard.redis.hset(shard.key("meta"), "hold_until", int(shard.now(-1)))
    assert shard.lease().id == "1"


@pytest.mark.usefixtures("former_life")
def test_a_clock_that_steps_back_after_a_restart_holds_nobody_off_for_longer(shard: Shard) -> None:
    ahead = {
        "hold_since": int(shard.now(HOUR)),
        "hold_until": int(shard.now(HOUR + LEASE_MS)),
        "epoch": EPOCH,
    }
    shard.redis.hset(shard.key("meta"), mapping=ahead)
    assert shard.lease().id == "1"


@pytest.mark.usefixtures("former_life")
def test_after_a_restart_with_synced_writes_nobody_waits(shard: Shard) -> None:
    assert [lease.id for lease in shard.claim(hold="0").leases] == ["1"]


@pytest.mark.usefixtures("former_life")
def test_after_a_restart_nobody_waits_for_claimers_that_left(shard: Shard) -> None:
    shard.run("leave", "w1")
    assert shard.lease().id == "1"


def test_the_first_life_holds_nothing_off(shard: Shard) -> None:
    shard.reap(claimer="w1")
    shard.enqueue(message("1"))
    assert shard.lease().id == "1"


def test_what_fell_due_joins_before_the_claim(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a", delay=HOUR))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    assert shard.claim().leases == []
    enqueued = shard.near()
    shard.redis.zadd(shard.key("blocked"), {"g:a": 1})
    shard.redis.zadd(shard.key("scheduled"), {"0000000000000002" + "2": 1})
    assert [lease.id for lease in shard.claim(5).leases] == ["1"]
    state = shard.snapshot()
    assert "blocked" not in state
    assert "scheduled" not in state
    assert state["group:g:a"] == ["1", "2"]
    assert state["messages"]["2"] == row("g:a", 3, enqueued, extra={"due": 1})


def test_scheduled_messages_join_in_the_order_of_their_times_then_of_acceptance(shard: Shard) -> None:
    shard.enqueue(*(message(id_, "a", delay=HOUR) for id_ in "zyx"))
    for score, members in ((2, ("1z", "2y")), (1, ("3x",))):
        shard.redis.zadd(shard.key("scheduled"), {"000000000000000" + member: score for member in members})
    assert shard.lease().id == "x"
    assert shard.snapshot()["group:g:a"] == ["x", "z", "y"]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_row_that_is_garbage_is_handed_out_as_it_is(shard: Shard, garbage: bytes) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    shard.redis.hset(shard.key("messages"), "1", garbage)
    lease = shard.lease()
    assert (lease.id, lease.actor, lease.payload, lease.sequence) == ("1", "", garbage, 0)
    assert shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="undecodable")) == [1]
    assert shard.state("1") == "dead"
    assert shard.lease().id == "2"


def test_a_group_goes_on_without_a_head_that_has_no_row(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "b"), message("4"))
    shard.redis.hdel(shard.key("messages"), "1", "3", "4")
    assert shard.claim(5).leases == []
    state = shard.snapshot()
    assert (state["ready"], state["wake"]) == (["g:a"], ["1"])
    assert state["group:g:a"] == ["2"]
    assert "group:g:b" not in state
    assert shard.lease().id == "2"


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_scheduled_row_that_is_garbage_is_handed_out_when_due(shard: Shard, garbage: bytes) -> None:
    shard.enqueue(message("1", "a", delay=HOUR))
    shard.redis.hset(shard.key("messages"), "1", garbage)
    shard.redis.zadd(shard.key("scheduled"), {"0000000000000001" + "1": 1})
    lease = shard.lease()
    assert (lease.ref, lease.id, lease.payload) == ("m:1", "1", garbage)
    assert shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="undecodable")) == [1]
    assert shard.state("1") == "dead"


def test_a_scheduled_message_that_has_no_row_holds_nobody_up(shard: Shard) -> None:
    shard.enqueue(message("1", "a", delay=HOUR), message("2", "a", delay=HOUR))
    shard.redis.hdel(shard.key("messages"), "1")
    members = ("0000000000000001" + "1", "0000000000000002" + "2")
    shard.redis.zadd(shard.key("scheduled"), dict.fromkeys(members, 1))
    assert shard.reap().due == 2
    state = shard.snapshot()
    assert "scheduled" not in state
    assert (state["group:g:a"], state["ready"]) == (["2"], ["g:a"])

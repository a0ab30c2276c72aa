"""Taking back leases that ended without a settle."""

import pytest

from lockstep.records import Reaped
from lockstep.states import Verb
from tests.scripts.shard import HOUR, LEASE_MS, Shard, kind_of, message, row, settlement

NOTHING = Reaped([], [], 0, 0)


@pytest.fixture(autouse=True)
def reaped_before(shard: Shard) -> None:
    """The reaper runs regularly, unless a test says otherwise."""
    assert shard.reap() == NOTHING


def test_a_lease_that_lasts_is_left_alone(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.lease()
    before = shard.snapshot()
    assert shard.reap() == NOTHING
    assert shard.changes(before).keys() <= {"meta"}
    assert float(shard.snapshot()["meta"]["reaped_at"]) == shard.near()


def test_a_lease_that_ended_is_taken_back_with_a_crash(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "b"))
    shard.lease()
    shard.expire("g:a")
    before, now = shard.snapshot(), shard.near()
    assert shard.reap() == Reaped(["1"], [], 0, 0)
    changes = shard.changes(before)
    changes.pop("meta", None)
    crashed = row("g:a", 1, now, crashes=1, history=[["w", now, now, "crashed", ""]])
    assert changes == {
        "leases": None,
        "expiries": None,
        "ready": ["g:a", "g:b"],
        "messages": before["messages"] | {"1": crashed},
        "stats": before["stats"] | {"reaped": "1"},
    }


def crash(shard: Shard, *, started: bool, crashes: int = 3) -> Reaped:
    lease = shard.lease()
    if started:
        assert shard.run("start", lease.ref, lease.token) == 1
    shard.expire(lease.ref)
    return shard.reap(crashes=crashes)


def test_a_message_that_kills_its_workers_dies_at_last(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    assert crash(shard, started=False) == Reaped(["1"], [], 0, 0)
    assert crash(shard, started=False) == Reaped(["1"], [], 0, 0)
    assert crash(shard, started=True) == Reaped([], ["1"], 0, 0)
    state, now = shard.snapshot(), shard.near()
    history = [["w", now, now, "crashed", ""]] * 3
    buried = row(
        "g:a",
        1,
        now,
        crashes=3,
        history=history,
        died=now,
        reason="worker_lost",
        extra={"kind": kind_of("worker_lost")},
    )
    assert state["messages"]["1"] == buried
    assert state["dead"] == {"1": now}
    assert (state["group:g:a"], state["ready"]) == (["2"], ["g:a"])
    assert state["stats"]["reaped"] == "3"


def test_a_death_that_blocks_keeps_the_group(shard: Shard) -> None:
    shard.enqueue(message("1", "a", blocks=True), message("2", "a"))
    assert crash(shard, started=True, crashes=1) == Reaped([], ["1"], 0, 0)
    state = shard.snapshot()
    assert state["blocked"] == {"g:a": float("inf")}
    assert state["group:g:a"] == ["1", "2"]
    assert "ready" not in state


def test_a_suspect_that_had_not_started_is_not_to_blame(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    crash(shard, started=False)
    crash(shard, started=False)
    for _ in range(3):
        assert crash(shard, started=False) == Reaped(["1"], [], 0, 0)
    assert shard.lease().crashes == 2


def test_start_says_so_in_the_lease_and_twice_changes_nothing(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    before = shard.snapshot()
    assert shard.run("start", "g:a", lease.token) == 1
    assert shard.changes(before) == {"leases": {"g:a": (lease.token, ["w", shard.near(), 1])}}
    before = shard.snapshot()
    assert shard.run("start", "g:a", lease.token) == 1
    assert shard.changes(before) == {}
    assert shard.settle(settlement(lease, Verb.COMPLETE)) == [1]


def test_start_of_a_lease_that_ended_changes_nothing(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    stale = shard.lease()
    shard.expire("g:a")
    shard.reap()
    for held in (False, True):
        if held:
            shard.lease()
        before = shard.snapshot()
        assert shard.run("start", "g:a", stale.token) == 0
        assert shard.changes(before) == {}


def test_after_a_gap_leases_that_ended_meanwhile_are_extended_once(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.lease()
    shard.expire("g:a")
    shard.redis.hset(shard.key("meta"), "reaped_at", int(shard.now(-2 * HOUR)))
    before = shard.snapshot()
    assert shard.reap() == Reaped([], [], 1, 0)
    changes = shard.changes(before)
    assert changes.keys() == {"meta", "expiries"}
    assert changes["expiries"] == {"g:a": shard.near(LEASE_MS)}
    assert float(changes["meta"]["amnesty"]) == shard.near()

    # The holder stays silent: its lease ends after the amnesty.
    shard.redis.hset(shard.key("meta"), "amnesty", int(shard.now(-LEASE_MS)))
    shard.redis.zadd(shard.key("expiries"), {"g:a": int(shard.now(-1))})
    assert shard.reap() == Reaped(["1"], [], 0, 0)


def test_a_clock_that_stepped_back_takes_no_lease_and_lengthens_none(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"))
    shard.claim(2)
    ahead = int(shard.now(HOUR))
    shard.redis.hset(shard.key("meta"), mapping={"reaped_at": ahead, "latest": ahead})
    shard.redis.zadd(shard.key("expiries"), {"g:a": shard.now(HOUR)})
    shard.expire("g:b")
    assert shard.reap() == Reaped([], [], 1, 0)
    later = shard.near(LEASE_MS)
    assert shard.snapshot()["expiries"] == {"g:a": later, "g:b": later}


def test_a_process_with_a_shorter_lease_cuts_nobody_elses(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.claim()
    before = shard.snapshot()
    shard.run("reap", "", LEASE_MS // 10, HOUR, 3, 200, HOUR)
    assert shard.changes(before).keys() <= {"meta"}


def test_a_new_claimer_is_told_from_a_known_one(shard: Shard) -> None:
    assert shard.reap(claimer="w").new
    assert not shard.reap(claimer="w").new
    assert not shard.reap().new


def test_what_fell_due_goes_on(shard: Shard) -> None:
    shard.enqueue(message("1", "a", delay=HOUR), message("2", "b"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    assert "wake" not in shard.snapshot()
    shard.redis.zadd(shard.key("scheduled"), {"0000000000000001" + "1": 1})
    shard.redis.zadd(shard.key("blocked"), {"g:b": 1})
    assert shard.reap() == Reaped([], [], 0, 2)
    state = shard.snapshot()
    assert (state["ready"], state["wake"]) == (["g:b", "g:a"], ["1"])
    assert not {"scheduled", "blocked"} & state.keys()


def test_one_call_handles_no_more_than_its_batch(shard: Shard) -> None:
    shard.enqueue(*(message(id_) for id_ in "abc"))
    for lease in shard.claim(3).leases:
        shard.expire(lease.ref)
    assert [len(shard.reap(batch=2).retried) for _ in range(3)] == [2, 1, 0]


def test_a_wake_up_that_was_lost_is_given_again(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.redis.delete(shard.key("wake"))
    shard.reap()
    shard.reap()
    assert shard.snapshot()["wake"] == ["1"]


def test_finished_records_are_dropped_by_their_age(shard: Shard) -> None:
    shard.enqueue(message("1"), message("2"))
    shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in shard.claim(2).leases))
    before = shard.snapshot()
    shard.reap(keep_ms=HOUR)
    assert shard.changes(before).keys() <= {"meta"}
    shard.reap(keep_ms=-1000, batch=1)
    assert shard.snapshot()["done_order"] == ["2"]
    shard.reap(keep_ms=-1000)
    assert shard.snapshot().keys() == {"meta", "stats"}


def test_a_claimer_is_known_until_it_is_silent_for_ten_leases(shard: Shard) -> None:
    shard.redis.zadd(
        shard.key("claimers"), {"gone": shard.now(-11 * LEASE_MS), "silent": shard.now(-9 * LEASE_MS)}
    )
    shard.reap(claimer="w1")
    assert shard.snapshot()["claimers"] == {"silent": shard.near(-9 * LEASE_MS), "w1": shard.near()}
    shard.reap()
    assert shard.snapshot()["claimers"].keys() == {"silent", "w1"}


def test_a_lease_whose_row_redis_lost_ends_and_its_group_goes_on(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3"))
    shard.claim(2)
    shard.redis.hdel(shard.key("messages"), "1", "3")
    shard.expire("g:a")
    shard.expire("m:3")
    assert shard.reap() == NOTHING
    state = shard.snapshot()
    assert not {"leases", "expiries"} & state.keys()
    assert (state["group:g:a"], state["ready"]) == (["2"], ["g:a"])

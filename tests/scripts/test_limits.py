"""Limits as the scripts keep them: who waits where, what is counted, what ends with a lease."""

import json
from typing import Any

import pytest

from lockstep import replies
from lockstep.rates import Rate, encode
from lockstep.states import GroupState, MessageState, Verb
from tests.scripts.shard import HOUR, LEASE_MS, SLACK_MS, Shard, message, settlement


@pytest.fixture
def limit(shard: Shard) -> Any:
    """Set fields of the limits: ``limit("run:rate:act", "2/1h")``."""

    def set_limit(field: str, value: str) -> None:
        if ":rate:" in field and value != "off":
            value = encode([Rate.parse(one) for one in value.split(",")])
        shard.redis.hset(shard.limits, field, value)

    return set_limit


def claimed(shard: Shard, wanted: int = 10, **options: Any) -> list[str]:
    return [lease.id for lease in shard.claim(wanted, **options).leases]


def log(shard: Shard, instance: str) -> list[int]:
    return [int(one) for one in shard.redis.lrange(f"{shard.limits}:log:{instance}", 0, -1)]


def age(shard: Shard, instance: str, ms: int) -> None:
    """Let everything that a limit counted be so much older, and look at its lane now."""
    times = log(shard, instance)
    shard.redis.delete(f"{shard.limits}:log:{instance}")
    shard.redis.rpush(f"{shard.limits}:log:{instance}", *(one - ms for one in times))
    for lane in shard.redis.zrange(shard.key("lanes"), 0, -1):
        shard.redis.zadd(shard.key("lanes"), {lane: 1}, xx=True)


def test_without_limits_nothing_is_kept(shard: Shard) -> None:
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(5)))
    claim = shard.claim(5)
    assert [lease.within_ms for lease in claim.leases] == [0] * 5
    assert not {"limited", "lanes"} & shard.snapshot().keys()
    assert shard.redis.exists(shard.limits) == 0


@pytest.mark.parametrize("name", ["act", "q", "shared"])
def test_a_rate_admits_its_number_and_the_rest_keeps_its_place(shard: Shard, limit: Any, name: str) -> None:
    limit("code:names:act", "shared")
    limit(f"run:rate:{name}", "2/1h")
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(5)))
    claim = shard.claim(10)
    assert [lease.id for lease in claim.leases] == ["0", "1"]
    assert [lease.within_ms for lease in claim.leases] == [50, 50]
    assert claim.more is False
    assert claim.next_due_ms is not None
    assert 3_570_000 < claim.next_due_ms <= 3_600_050
    state = shard.snapshot()
    assert state["limited"] == {"g:g2": name, "g:g3": name, "g:g4": name}
    assert sorted(state[f"lane:{name}"], key=state[f"lane:{name}"].get) == ["g:g2", "g:g3", "g:g4"]
    assert "ready" not in state
    assert [int(lease.token[9:25]) // 1000 for lease in claim.leases] == [
        pytest.approx(t, abs=100) for t in log(shard, name)
    ]
    counts = replies.queue_counts("q", [shard.run("counts")])
    assert (counts.messages[MessageState.WAITING], counts.groups[GroupState.BLOCKED]) == (3, 3)
    assert counts.stats[f"limit_waits|{name}"] == 3
    before = shard.snapshot()
    assert claimed(shard) == []
    assert shard.changes(before).keys() <= {"wake"}
    age(shard, name, HOUR + 60)
    assert claimed(shard) == ["2", "3"]


def test_what_is_set_at_run_time_stands_before_settings_and_code(shard: Shard, limit: Any) -> None:
    limit("code:rate:act", "3/1h")
    shard.enqueue(*(message(f"{n}") for n in range(20)))
    assert len(claimed(shard, 20)) == 3
    limit("env:rate:act", "5/1h")
    limit("revision", "1")
    shard.reap()
    assert len(claimed(shard, 20)) == 2
    limit("run:rate:act", "off")
    limit("revision", "2")
    shard.reap()
    assert len(claimed(shard, 20)) == 15
    assert not {"limited", "lanes"} & shard.snapshot().keys()


def test_one_limit_does_not_hold_up_another(shard: Shard, limit: Any) -> None:
    limit("run:rate:slow", "1/1h")
    slow = [[*message(f"s{n}", f"s{n}")[:2], "slow", *message("")[3:]] for n in range(50)]
    shard.enqueue(*slow, *(message(f"f{n}", f"f{n}") for n in range(50)))
    assert claimed(shard, 30) == ["s0", *(f"f{n}" for n in range(29))]
    assert claimed(shard, 30) == [f"f{n}" for n in range(29, 50)]


def test_a_burst_may_be_smaller_than_the_rate(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "60/1m burst 2")
    shard.enqueue(*(message(f"{n}") for n in range(6)))
    assert claimed(shard) == ["0", "1"]
    age(shard, "act", 2001)
    assert claimed(shard) == ["2", "3"]


def test_each_key_each_group_and_each_process_may_have_a_rate_of_its_own(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "1/1h")
    shard.enqueue(message("a1", limit="a"), message("a2", limit="a"), message("b1", limit="b"))
    assert claimed(shard) == ["a1", "b1"]
    limit("run:rate:act", "2/1h per group")
    limit("revision", "1")
    shard.reap()
    shard.enqueue(message("x1", "x"), message("x2", "x"), message("x3", "x"), message("y1", "y"))
    for expected in (["a2", "x1", "y1"], ["x2"], []):
        leases = shard.claim(10).leases
        assert sorted(lease.id for lease in leases) == expected
        shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in leases))
    limit("run:rate:act", "1/1h per process")
    limit("revision", "2")
    shard.reap()
    shard.enqueue(message("p1"), message("p2"))
    assert len(claimed(shard, owner="one")) == 1
    assert len(claimed(shard, owner="two")) == 1
    third = shard.claim(10, owner="two")
    assert third.leases == []
    assert third.next_due_ms is not None
    assert len(claimed(shard, owner="three")) == 1


def test_concurrency(shard: Shard, limit: Any) -> None:
    limit("run:concurrency:act", "2")
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(5)))
    first, second = shard.claim(10).leases
    assert (first.id, second.id) == ("0", "1")
    assert shard.redis.hgetall(f"{shard.limits}:running") == {b"act": b"2"}
    shard.settle(settlement(first, Verb.COMPLETE))
    assert shard.snapshot()["wake"] == ["1"]
    (third,) = shard.claim(10).leases
    assert third.id == "2"
    shard.settle(settlement(second, Verb.RETRY, delay_ms=HOUR), settlement(third, Verb.DEAD_LETTER))
    assert claimed(shard) == ["3", "4"]
    shard.expire("g:g3")
    shard.expire("g:g4")
    shard.reap()
    assert shard.redis.exists(f"{shard.limits}:running") == 0


def test_several_of_a_group_at_once(shard: Shard) -> None:
    a, b = (json.dumps({"group": group, "slots": 2}) for group in "ab")
    shard.enqueue(*([*message(f"{n}")[:-1], a] for n in range(4)), [*message("b")[:-1], b])
    claim = shard.claim(10)
    assert [lease.id for lease in claim.leases] == ["0", "1", "b"]
    shard.settle(settlement(claim.leases[1], Verb.COMPLETE))
    assert claimed(shard) == ["2"]
    record = replies.message_record("3", "q", shard.run("inspect", "3", 10))
    assert (record.group, record.state) == ("a", MessageState.WAITING)


def test_a_held_limit(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "100/1h")
    shard.redis.set(f"{shard.limits}:hold:act", 1, px=HOUR)
    shard.enqueue(message("1"))
    claim = shard.claim(10)
    assert claim.leases == []
    assert claim.next_due_ms == pytest.approx(HOUR, abs=SLACK_MS)
    shard.redis.delete(f"{shard.limits}:hold:act")
    shard.run("relook")
    assert claimed(shard) == ["1"]


def test_a_paused_actor(shard: Shard, limit: Any) -> None:
    limit("paused:act", "1")
    shard.enqueue(message("1", "a"))
    claim = shard.claim(10)
    assert (claim.leases, claim.next_due_ms) == ([], None)
    shard.redis.hdel(shard.limits, "paused:act")
    shard.run("relook")
    assert claimed(shard) == ["1"]


def test_a_group_that_waits_for_a_limit_can_be_paused_and_its_head_cancelled(
    shard: Shard, limit: Any
) -> None:
    limit("paused:act", "1")
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "b"))
    claimed(shard)
    shard.run("pause", "g:a")
    shard.run("cancel", "3")
    assert shard.snapshot()["limited"] == {"g:a": "act|paused"}
    shard.run("cancel", "1")
    shard.redis.hdel(shard.limits, "paused:act")
    shard.run("relook")
    assert claimed(shard) == []
    assert not {"limited", "lanes"} & shard.snapshot().keys()
    shard.run("resume", "g:a")
    assert claimed(shard) == ["2"]


def test_a_start_that_did_not_happen_is_not_counted(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "1/1h")
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    assert len(log(shard, "act")) == 1
    shard.settle(settlement(lease, Verb.RELEASE))
    assert log(shard, "act") == []
    assert shard.lease().id == "1"


def test_a_late_start_is_counted_when_it_happens(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "3/1h")
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    since = log(shard, "act")[0]
    shard.redis.time()
    assert shard.run("start", lease.ref, lease.token) == 50
    assert log(shard, "act")[0] >= since
    assert shard.run("start", lease.ref, "x" * len(lease.token)) == 0
    shard.redis.delete(f"{shard.limits}:log:act")
    assert shard.run("start", lease.ref, lease.token) == 0


def test_a_resent_claim_charges_once(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "5/1h")
    shard.enqueue(message("1", "a"), message("2", "b"))
    first = shard.claim(2, number="7")
    again = shard.claim(2, number="7")
    assert [lease.token for lease in again.leases] == [lease.token for lease in first.leases]
    assert [lease.within_ms for lease in again.leases] == [-1, -1]
    assert len(log(shard, "act")) == 2


def test_everything_that_counts_expires(shard: Shard, limit: Any) -> None:
    limit("run:rate:act", "5/10s,5/10s per group,5/10s per process")
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    shard.run("charge", "s", "1", "domain", "x.org", "1/1000/1/fleet")
    shard.run("charge", "s", "2", "domain", "x.org", "1/1000/1/fleet")
    keys = list(shard.redis.scan_iter(f"{shard.limits}:*"))
    assert len(keys) == 5
    assert all(shard.redis.pttl(one) > 0 for one in keys)


def test_actors_charge_by_keys_and_are_told_when_to_come_back(shard: Shard) -> None:
    calls = iter(range(1, 100))

    def charge(key: str) -> int:
        return int(shard.run("charge", "s", str(next(calls)), "domain", key, "2/10000/2/fleet"))

    assert [charge("a"), charge("a"), charge("b")] == [0, 0, 0]
    waits = [charge("a") for _ in range(4)]
    assert waits == [pytest.approx(ms, abs=100) for ms in (10050, 10050, 20100, 20100)]
    assert shard.run("charge", "s", "999", "unknown", "a", "") == -1
    first = shard.run("charge", "s", "1000", "domain", "c", "2/10000/2/fleet")
    again = shard.run("charge", "s", "1000", "domain", "c", "2/10000/2/fleet")
    assert (first, again, len(log(shard, "domain|k:c"))) == (0, 0, 1)


def test_a_lease_that_ran_out_does_not_keep_its_slot(shard: Shard, limit: Any) -> None:
    limit("run:concurrency:act", "1")
    shard.enqueue(message("1", "a"), message("2", "b"))
    lease = shard.lease()
    assert claimed(shard) == []
    shard.expire(lease.ref)
    assert shard.reap().retried == ["1"]
    assert LEASE_MS > 0
    assert claimed(shard) in (["1"], ["2"])

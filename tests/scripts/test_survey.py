"""The deepest and the oldest groups: exact where there are few, and found piece by piece where there are many."""

from typing import Any

import pytest

from lockstep.limitstore import encode
from lockstep.rates import parse_rates
from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement

BATCH = 10


def rank(shard: Shard, wanted: int = 3, batch: int = BATCH) -> tuple[bool, list[Any], list[Any]]:
    """Whether it is exact; the deepest as (ref, depth); the oldest as (ref, age).

    An age is in seconds, in steps of 50: a busy machine takes some between the script and the message before it.
    """
    before = shard.snapshot()
    exact, deepest, oldest = shard.run("rank", batch, wanted)
    assert shard.changes(before) == {}
    refs = [ref.decode() for ref in deepest[::3]]
    ages = [(ref.decode(), age // 50_000 * 50) for ref, age in zip(oldest[::3], oldest[2::3], strict=True)]
    return exact == 1, list(zip(refs, deepest[1::3], strict=True)), ages


def step(shard: Shard, gap: int = 0, kept: int = 5) -> tuple[int, int]:
    looked, passes = shard.run("survey", BATCH, gap, kept)
    return looked, passes


def pass_over(shard: Shard) -> int:
    """One whole pass; answers how many steps it took."""
    steps, (_, first) = 1, step(shard)
    while step(shard)[1] == first:
        steps += 1
        assert steps < 1000
    return steps


def aged(shard: Shard, id_: str, seconds: float) -> None:
    """Let a message have been accepted earlier."""
    shard.redis.eval(
        "local row = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1])); row[5] = row[5] - ARGV[2];"
        "return redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(row))",
        *(1, shard.key("messages"), id_, seconds * 1000),
    )


def test_nothing(shard: Shard) -> None:
    assert rank(shard) == (True, [], [])
    assert step(shard) == (0, 0)
    assert shard.snapshot() == {}


def test_few_groups_are_exact_wherever_they_are(shard: Shard) -> None:
    shard.redis.hset(shard.limits, "code:rate:slow", encode(parse_rates(["1/1h"])))
    slow = [[*message(f"s{n}", f"slow{n}")[:2], "slow", *message("")[3:]] for n in (1, 2)]
    shard.enqueue(*slow, *(message(f"b{n}", "blocked") for n in range(4)), message("d", "dead", blocks=True))
    leases = {lease.id: lease for lease in shard.claim(10).leases}
    assert leases.keys() == {"s1", "b0", "d"}
    shard.settle(
        settlement(leases["b0"], Verb.RETRY, delay_ms=HOUR),
        settlement(leases["d"], Verb.DEAD_LETTER, reason="why"),
    )
    shard.enqueue(message("p1", "paused"), message("p2", "paused"), message("later", "later", delay=HOUR))
    shard.run("pause", "g:paused")
    shard.enqueue(message("alone", priority=3), *(message(f"r{n}", "ready") for n in range(3)))
    for age, id_ in enumerate(("r0", "alone", "d", "p1", "s2", "s1", "b0"), start=1):
        aged(shard, id_, 100 * age)

    exact, deepest, oldest = rank(shard, 10)
    assert exact
    assert deepest[:3] == [("g:blocked", 4), ("g:ready", 3), ("g:paused", 2)]
    assert len(deepest) == 7
    assert oldest == [
        ("g:blocked", 700),
        ("g:slow1", 600),
        ("g:slow2", 500),
        ("g:paused", 400),
        ("g:dead", 300),
        ("m:alone", 200),
        ("g:ready", 100),
    ]
    assert rank(shard, 1) == (True, deepest[:1], oldest[:1])


def test_the_age_of_a_delayed_head_counts_from_its_time(shard: Shard) -> None:
    shard.enqueue(message("1", "a", delay=HOUR), message("2", "b", delay=HOUR, hold_place=True))
    for id_ in "12":
        aged(shard, id_, 5000)
    assert rank(shard) == (True, [("g:b", 1)], [("g:b", 0)])
    (member,) = shard.redis.zrange(shard.key("scheduled"), 0, -1)
    shard.redis.zadd(shard.key("scheduled"), {member: shard.now(-100_000)})
    shard.reap()
    assert rank(shard)[2] == [("g:a", 100), ("g:b", 0)]
    shard.enqueue(message("3", "c", delay=HOUR))
    aged(shard, "3", 5000)
    shard.run("promote", "operator", "1", "3", "1")
    assert ("g:c", 0) in rank(shard)[2]


def test_a_head_that_is_no_row_or_has_none(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"))
    shard.redis.hset(shard.key("messages"), "1", b"\xc1")
    shard.redis.hdel(shard.key("messages"), "2")
    assert shard.run("rank", BATCH, 3)[:2] == [1, [b"g:a", 1, 0, b"g:b", 1, 0]]


def test_many_groups_are_found_in_one_pass(shard: Shard) -> None:
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(95)))
    shard.enqueue(*(message(f"deep{n}", "g47") for n in range(6)), message("two", "g90"))
    aged(shard, "13", 500)
    aged(shard, "71", 900)
    held = shard.claim(20).leases
    shard.settle(*(settlement(lease, Verb.RETRY, delay_ms=HOUR) for lease in held[:15]))

    assert rank(shard) == (False, [], [])  # nothing has been looked for yet
    assert pass_over(shard) == 10
    exact, deepest, oldest = rank(shard)
    assert not exact
    assert deepest[:2] == [("g:g47", 7), ("g:g90", 2)]
    assert oldest[:2] == [("g:g71", 900), ("g:g13", 500)]
    assert shard.redis.zcard(shard.key("survey:deep")) == 5
    assert shard.redis.zcard(shard.key("survey:old")) == 5


def test_what_is_told_is_true_now_and_others_take_the_place_of_what_left(shard: Shard) -> None:
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(30)), *(message(f"a{n}", "g0") for n in range(9)))
    pass_over(shard)
    assert rank(shard)[1][0] == ("g:g0", 10)
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    assert rank(shard)[1][0] == ("g:g0", 9)
    shard.run("purge", "", 100, "", "refs", "g:g0")
    assert rank(shard)[1][0][1] == 1
    shard.enqueue(message("b", "g29"))
    pass_over(shard)
    assert rank(shard)[1][0] == ("g:g29", 2)


def test_messages_without_a_group_leave_when_they_end(shard: Shard) -> None:
    shard.enqueue(*(message(f"{n}") for n in range(30)))
    aged(shard, "0", 900)
    pass_over(shard)
    assert rank(shard)[2][0] == ("m:0", 900)
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))  # its record is kept
    assert "m:0" not in dict(rank(shard)[2])
    step(shard)
    assert shard.redis.zscore(shard.key("survey:old"), "m:0") is None


def test_groups_that_leave_while_the_search_goes_on_hide_none_that_stay(shard: Shard) -> None:
    shard.enqueue(
        *(message(f"{n}", f"g{n}") for n in range(60)), *(message(f"x{n}", "g59") for n in range(3))
    )
    shard.enqueue(*(message(f"y{n}", "g40") for n in range(5)))
    _, first = step(shard)
    while step(shard)[1] == first:
        for lease in shard.claim(3).leases:  # from the beginning of the list
            shard.settle(settlement(lease, Verb.COMPLETE))
    assert rank(shard)[1][:2] == [("g:g40", 6), ("g:g59", 4)]


def test_steps_keep_a_distance_however_many_ask(shard: Shard) -> None:
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(60)))
    assert step(shard, gap=HOUR)[0] == BATCH
    assert [step(shard, gap=HOUR)[0] for _ in range(3)] == [0, 0, 0]
    shard.redis.hset(shard.key("survey"), "at", int(shard.now(2 * HOUR)))  # the clock stepped back
    assert step(shard, gap=HOUR)[0] == BATCH


def test_nothing_is_kept_once_there_are_few(shard: Shard) -> None:
    shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(BATCH + 1)))
    before = set(shard.snapshot())
    step(shard)
    assert set(shard.snapshot()) - before == {"survey", "survey:deep", "survey:old"}
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    assert step(shard) == (0, 0)
    assert not {name for name in shard.snapshot() if name.startswith("survey")}


@pytest.mark.parametrize("groups", [1000, 5000])
def test_a_step_and_a_question_cost_the_same_however_many_groups_there_are(
    lone_shard: Shard, groups: int
) -> None:
    shard = lone_shard
    for first in range(0, groups, 500):
        shard.enqueue(*(message(f"{n}", f"g{n}") for n in range(first, first + 500)))
    pass_over_some = [step(shard) for _ in range(5)]
    assert [looked for looked, _ in pass_over_some] == [BATCH] * 5
    shard.redis.config_resetstat()
    step(shard)
    rank(shard)
    stats = shard.redis.info("commandstats")
    assert stats["cmdstat_lindex"]["calls"] <= 60  # about 40

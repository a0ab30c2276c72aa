"""Whatever is broken in a shard, a check finds it, a repair mends it, and everything then runs in order."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lockstep import scripts
from lockstep.fsck import Finding, Fsck
from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, calls_of, message, settlement


@pytest.fixture
def fsck(shard: Shard) -> Iterator[Fsck]:
    calls = calls_of(shard)
    calls.command("SADD", calls.global_key("queues"), "q")
    yield Fsck(calls)
    calls.close()


def fill(shard: Shard) -> None:
    """A bit of everything."""
    shard.enqueue(
        message("gone"), message("done1", "d"), message("dead1", "d"), message("block", "b", blocks=True)
    )
    shard.enqueue(message("b2", "b"))
    shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in shard.claim(2).leases))
    shard.bury("dead1", "block")
    shard.run("cancel", "b2")
    shard.enqueue(message("b3", "b"), message("r1", "run"), message("r2", "run"))
    shard.lease()
    shard.enqueue(message("f1", "fail"), message("f2", "fail"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    shard.enqueue(message("p1", "pause"), message("p2", "pause"))
    shard.run("pause", "g:pause")
    shard.enqueue(message("late", "a", delay=HOUR))
    shard.redis.hset(shard.limits, "run:rate:slow", "1/3600000/1/fleet")
    slow = [message("l1", "lim"), message("l2", "lim"), message("l3", "lim2")]
    for one in slow:
        one[2] = "slow"
    shard.enqueue(*slow)
    shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in shard.claim(3).leases))
    assert shard.claim(3).leases == []
    shard.enqueue(
        *(message(f"a{number}", "a") for number in range(1, 5)),
        message("lone"),
        message("h", "hi", priority=3),
    )


Damage = Callable[[Any, Callable[[str], str]], object]

DAMAGES: dict[str, tuple[Damage, set[tuple[str, str, str]]]] = {
    "row lost": (lambda r, k: r.hdel(k("messages"), "a2"), {("message", "a2", "without row")}),
    "row of a head lost": (lambda r, k: r.hdel(k("messages"), "a1"), {("message", "a1", "without row")}),
    "row of what runs lost": (lambda r, k: r.hdel(k("messages"), "r1"), {("message", "r1", "without row")}),
    "lone row lost": (lambda r, k: r.hdel(k("messages"), "lone"), {("group", "m:lone", "empty")}),
    "scheduled row lost": (
        lambda r, k: r.hdel(k("messages"), "late"),
        {("scheduled", "0000000000000013late", "stray")},
    ),
    "done row lost": (lambda r, k: r.hdel(k("messages"), "done1"), {("done", "done1", "without row")}),
    "dead row lost": (
        lambda r, k: r.hdel(k("messages"), "dead1"),
        {("message", "dead1", "without row"), ("letter", "dead1", "stray"), ("count", "act", "counts 2")},
    ),
    "blocking row lost": (
        lambda r, k: r.hdel(k("messages"), "block"),
        {
            ("message", "block", "without row"),
            ("letter", "block", "stray"),
            ("group", "g:b", "blocked wrongly"),
            ("count", "act", "counts 2"),
        },
    ),
    "cancelled row lost": (lambda r, k: r.hdel(k("messages"), "b2"), {("message", "b2", "without row")}),
    "list lost": (
        lambda r, k: r.delete(k("group:g:a")),
        {("group", "g:a", "empty"), *(("message", f"a{number}", "nowhere") for number in range(1, 5))},
    ),
    "list of what runs lost": (
        lambda r, k: r.delete(k("group:g:run")),
        {("group", "g:run", "empty"), ("message", "r1", "nowhere"), ("message", "r2", "nowhere")},
    ),
    "what runs lost from its list": (
        lambda r, k: r.lrem(k("group:g:run"), 0, "r1"),
        {("message", "r1", "nowhere")},
    ),
    "one lost from a list": (lambda r, k: r.lrem(k("group:g:a"), 0, "a2"), {("message", "a2", "nowhere")}),
    "one twice in a list": (
        lambda r, k: r.rpush(k("group:g:a"), "a2"),
        {("message", "a2", "in its group twice")},
    ),
    "one in another group": (
        lambda r, k: r.linsert(k("group:g:a"), "BEFORE", "a2", "p2"),
        {("message", "p2", "in another group")},
    ),
    "done one in its group": (
        lambda r, k: (r.rpush(k("group:g:d"), "done1"), r.rpush(k("ready"), "g:d")),
        {("message", "done1", "ended but in its group")},
    ),
    "dead one in its group": (
        lambda r, k: (r.rpush(k("group:g:d"), "dead1"), r.rpush(k("ready"), "g:d")),
        {("message", "dead1", "ended but in its group")},
    ),
    "ready lost": (
        lambda r, k: r.delete(k("ready")),
        {("group", "g:a", "nowhere"), ("message", "lone", "nowhere")},
    ),
    "a level of ready lost": (lambda r, k: r.delete(k("ready:3")), {("group", "g:hi", "nowhere")}),
    "ready twice": (lambda r, k: r.rpush(k("ready"), "g:a"), {("group", "g:a", "ready twice")}),
    "ready and leased": (lambda r, k: r.rpush(k("ready"), "g:run"), {("group", "g:run", "in two places")}),
    "ready and blocked": (lambda r, k: r.rpush(k("ready"), "g:fail"), {("group", "g:fail", "in two places")}),
    "ready and limited": (lambda r, k: r.rpush(k("ready"), "g:lim"), {("group", "g:lim", "in two places")}),
    "ready without messages": (
        lambda r, k: r.rpush(k("ready"), "g:nobody"),
        {("group", "g:nobody", "empty")},
    ),
    "lease lost": (
        lambda r, k: r.hdel(k("leases"), "g:run"),
        {("group", "g:run", "nowhere"), ("group", "g:run", "end without lease")},
    ),
    "end of a lease lost": (
        lambda r, k: r.zrem(k("expiries"), "g:run"),
        {("group", "g:run", "lease without end")},
    ),
    "end without lease": (
        lambda r, k: r.zadd(k("expiries"), {"g:x": 1}),
        {("group", "g:x", "end without lease")},
    ),
    "back-off lost": (lambda r, k: r.zrem(k("blocked"), "g:fail"), {("group", "g:fail", "nowhere")}),
    "dead head let go": (
        lambda r, k: (r.zrem(k("blocked"), "g:b"), r.rpush(k("ready"), "g:b")),
        {("group", "g:b", "blocked wrongly")},
    ),
    "blocked for ever": (
        lambda r, k: r.zadd(k("blocked"), {"g:fail": float("inf")}),
        {("group", "g:fail", "blocked wrongly")},
    ),
    "halted lost": (lambda r, k: r.delete(k("halted")), {("group", "g:pause", "nowhere")}),
    "paused lost": (lambda r, k: r.delete(k("paused")), {("group", "g:pause", "halted but not paused")}),
    "lane lost": (
        lambda r, k: r.delete(k("lane:slow")),
        {
            ("group", "g:lim", "not in its lane"),
            ("group", "g:lim2", "not in its lane"),
            ("lane", "slow", "empty"),
        },
    ),
    "time of a lane lost": (lambda r, k: r.delete(k("lanes")), {("lane", "slow", "never looked at")}),
    "limited lost": (
        lambda r, k: r.delete(k("limited")),
        {
            *(("group", ref, "nowhere") for ref in ("g:lim", "g:lim2")),
            *(("waiter", ref, "stray") for ref in ("g:lim", "g:lim2")),
        },
    ),
    "scheduled lost": (lambda r, k: r.delete(k("scheduled")), {("message", "late", "not scheduled")}),
    "done lost": (
        lambda r, k: r.hdel(k("done"), "done1"),
        {("done", "done1", "without record"), ("message", "done1", "nowhere")},
    ),
    "order of done lost": (
        lambda r, k: r.lrem(k("done_order"), 0, "done1"),
        {("done", "done1", "not in order")},
    ),
    "done twice in order": (
        lambda r, k: r.rpush(k("done_order"), "done1"),
        {("done", "done1", "in order twice")},
    ),
    "dead lost": (
        lambda r, k: r.zrem(k("dead"), "dead1"),
        {("message", "dead1", "dead but not listed"), ("count", "act", "counts 2")},
    ),
    "order of the dead lost": (
        lambda r, k: r.zrem(k("dead_order"), "dead1"),
        {("message", "dead1", "dead but not listed")},
    ),
    "listed as dead": (
        lambda r, k: r.zadd(k("dead_order"), {"a1": 1}),
        {("message", "a1", "listed as dead")},
    ),
    "count of the dead wrong": (
        lambda r, k: r.hset(k("dead_actors"), "act", 7),
        {("count", "act", "counts 7")},
    ),
    "cancelled lost": (
        lambda r, k: r.delete(k("cancelled")),
        {("message", "b2", "cancelled but not listed")},
    ),
    "listed as cancelled": (
        lambda r, k: r.zadd(k("cancelled"), {"a1": 1}),
        {("message", "a1", "listed as cancelled")},
    ),
    "word of nobody": (
        lambda r, k: r.sadd(k("word:x"), "a1", "nobody"),
        {("word", "a1", "stray"), ("word", "nobody", "stray")},
    ),
    "the only one of nobody": (
        lambda r, k: r.hset(k("unique"), "print", "a1"),
        {("unique", "print", "stray")},
    ),
    "token without lease": (lambda r, k: r.sadd(k("cancelling"), "x"), {("token", "x", "without lease")}),
}


def test_nothing_is_wrong_where_scripts_did_everything(shard: Shard, fsck: Fsck) -> None:
    fill(shard)

    report = fsck.run()

    assert report.found == []
    assert report.checked > 30


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_mended(shard: Shard, fsck: Fsck, damage: str) -> None:
    fill(shard)
    breaks, expected = DAMAGES[damage]
    breaks(shard.redis, shard.key)

    before = shard.snapshot()
    report = fsck.run()
    assert found(report.found) == expected
    assert shard.changes(before) == {}

    report = fsck.run(repair=True)
    assert report.left == []
    assert found(report.found) == expected
    assert report.repaired
    assert fsck.run().found == []
    before = shard.snapshot()
    fsck.run(repair=True)
    assert shard.changes(before) == {}
    drain_in_order(shard)
    assert fsck.run().found == []


def found(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(one.what, one.name.decode(), one.fault) for one in findings}


def drain_in_order(shard: Shard) -> None:
    """Everything that has not ended runs, each group in the order of its sequences."""
    unfinished = set(shard.snapshot()["messages"]) - ended(shard)
    shard.redis.delete(shard.limits)
    shard.run("relook")
    shard.run("resume", "g:pause")
    if shard.redis.lindex(shard.key("group:g:b"), 0) == b"block":
        shard.skip("b")
    for ref in shard.redis.zrange(shard.key("expiries"), 0, -1):
        shard.expire(ref)
    for name in ("blocked", "scheduled"):
        for member in shard.redis.zrangebyscore(shard.key(name), "-inf", "(inf"):
            shard.redis.zadd(shard.key(name), {member: 1})
    shard.reap()
    sequences: dict[str, int] = {}
    ran: list[str] = []
    while leases := shard.claim(10).leases:
        for lease in leases:
            assert lease.sequence > sequences.get(lease.ref, 0), lease
            sequences[lease.ref] = lease.sequence
            ran.append(lease.id)
        shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in leases), keep=100)
    assert sorted(ran) == sorted(unfinished)


def ended(shard: Shard) -> set[str]:
    state = shard.snapshot()
    return {*state.get("done", {}), *state.get("dead", {}), *state.get("cancelled", {})}


@pytest.mark.parametrize(("counted", "right"), [("7", "1"), (None, "1")])
def test_what_runs_under_limits_is_counted_anew(
    shard: Shard, fsck: Fsck, counted: str | None, right: str
) -> None:
    shard.redis.hset(shard.limits, "run:concurrency:act", 1)
    shard.enqueue(message("1", "a"), message("2", "b"))
    lease = shard.lease()
    assert shard.claim(2).leases == []
    assert fsck.run().found == []
    running = f"{shard.limits}:running"
    shard.redis.delete(running) if counted is None else shard.redis.hset(running, "act", counted)

    report = fsck.run(repair=True)
    assert [(one.what, one.name, one.right) for one in report.found] == [("running", b"act", right)]
    assert report.left == []
    assert shard.redis.hgetall(running) == {b"act": right.encode()}

    shard.settle(settlement(lease, Verb.COMPLETE))
    assert [one.id for one in shard.claim(2).leases] == ["2"]
    assert fsck.run().found == []


def test_a_count_that_moved_since_is_left_alone(shard: Shard) -> None:
    shard.redis.hset(shard.limits, "act", 3)
    run = shard.redis.execute_command
    script = scripts.load("recount").text
    assert run("EVAL", script, 1, shard.limits, "act", "2", "1") == []
    assert run("EVAL", script, 1, shard.limits, "act", "3", "1", "x", "", "2") == [b"act", b"x"]
    assert run("EVAL", script, 1, shard.limits, "act", "1", "0") == [b"act"]
    assert shard.redis.hgetall(shard.limits) == {b"x": b"2"}


def test_nothing_is_found_while_workers_work(shard: Shard, fsck: Fsck) -> None:
    """What moves while pages are turned is looked at again, and is right."""
    shard.redis.hset(shard.limits, "run:concurrency:act", 5)
    stop, moved = threading.Event(), [0]

    def work() -> None:
        while not stop.is_set():
            moved[0] += 1
            number = moved[0]
            shard.enqueue(message(f"{number}", f"g{number % 7}"), message(f"late{number}", "late", delay=1))
            leases = shard.claim(3).leases
            shard.settle(*(settlement(one, list(Verb)[int(one.fence) % 4], reason="why") for one in leases))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        looks = 0
        while looks < 20 or moved[0] < 200:
            report = fsck.run()
            assert report.found == []
            assert report.checked > 0 or moved[0] < 3
            assert worker.is_alive()
            looks += 1
    finally:
        stop.set()
        worker.join()


def test_many_damages_at_once(shard: Shard, fsck: Fsck) -> None:
    fill(shard)
    for name in (
        "ready",
        "leases",
        "blocked",
        "limited",
        "halted",
        "done_order",
        "dead",
        "expiries",
        "lanes",
        "group:g:a",
    ):
        shard.redis.delete(shard.key(name))

    report = fsck.run(repair=True)

    assert report.left == []
    assert len(report.repaired) > 15
    drain_in_order(shard)


KEPT_DAMAGES: dict[str, tuple[Damage, str]] = {
    "record lost": (lambda r, k: r.hdel(k("done"), "kept"), "without record"),
    "row lost": (lambda r, k: r.hdel(k("messages"), "kept"), "without row"),
    "time lost": (lambda r, k: r.zrem(k("kept"), "kept"), "not in order"),
    "in order, too": (lambda r, k: r.rpush(k("done_order"), "kept"), "kept and in order"),
}


@pytest.mark.parametrize("damage", KEPT_DAMAGES)
def test_records_with_a_retention_of_their_own(shard: Shard, fsck: Fsck, damage: str) -> None:
    shard.enqueue(message("kept", "g", retention=HOUR))
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    assert fsck.run().found == []
    breaks, fault = KEPT_DAMAGES[damage]
    breaks(shard.redis, shard.key)
    report = fsck.run(repair=True)
    assert ("done", "kept", fault) in found(report.found)
    assert report.left == []
    assert fsck.run().found == []

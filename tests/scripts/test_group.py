"""What a group is and what it waits for."""

from typing import Any

from lockstep.limitstore import encode
from lockstep.rates import parse_rates
from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement


def look(shard: Shard, *refs: str) -> list[tuple[Any, ...]]:
    """State, depth, head, why, limit, paused of each."""
    replies = shard.run("group", *refs)
    assert [reply[0].decode() for reply in replies] == list(refs)
    chosen = [(reply[1], reply[2], reply[3], reply[9], reply[10], reply[11]) for reply in replies]
    return [tuple(one.decode() if isinstance(one, bytes) else one for one in some) for some in chosen]


def test_each_state(shard: Shard) -> None:
    shard.enqueue(*(message(f"{g}{n}", g) for g in "abcd" for n in (1, 2)), message("e1", "e", blocks=True))
    for verb in (Verb.RETRY, Verb.RELEASE):
        shard.settle(settlement(shard.lease(), verb, delay_ms=HOUR, park=verb is Verb.RELEASE))
    held = shard.lease()
    shard.run("pause", "g:d")
    shard.settle(settlement(shard.lease(), Verb.DEAD_LETTER, reason="why"))
    shard.enqueue(message("f1", "f"), message("h1", "h", delay=HOUR, hold_place=True), message("i1"))
    before = shard.snapshot()
    refs = [f"g:{g}" for g in "abcdefh"]
    assert look(shard, *refs, "m:i1", "g:none") == [
        ("blocked", 2, "a1", "backoff", "", 0),
        ("blocked", 2, "b1", "unknown_actor", "", 0),
        ("leased", 2, "c1", "", "", 0),
        ("paused", 2, "d1", "paused", "", 1),
        ("blocked", 1, "e1", "dead_letter", "", 0),
        ("ready", 1, "f1", "", "", 0),
        ("blocked", 1, "h1", "hold_place", "", 0),
        ("ready", 1, "i1", "", "", 0),
        ("", 0, "", "", "", 0),
    ]
    assert shard.changes(before) == {}
    leased = shard.run("group", "g:c")[0]
    assert (leased[5], int(leased[6])) == (b"w", held.fence)
    assert float(leased[7]) == shard.near(60_000)
    blocked, dead = shard.run("group", "g:a", "g:e")
    assert float(blocked[8]) == shard.near(HOUR)
    assert dead[8] == b""


def test_one_that_waits_for_a_limit_or_its_actor(shard: Shard) -> None:
    shard.redis.hset(shard.limits, "code:rate:act", encode(parse_rates(["1/1h"])))
    shard.enqueue(message("1", "a"), message("2", "b"))
    shard.lease()
    shard.claim(5)
    assert look(shard, "g:b") == [("blocked", 1, "2", "limit", "act", 0)]


def test_one_whose_actor_is_paused(shard: Shard) -> None:
    shard.redis.hset(shard.limits, "paused:act", "1")
    shard.enqueue(message("1", "a"))
    shard.claim(5)
    assert look(shard, "g:a") == [("blocked", 1, "1", "actor_paused", "act", 0)]


def test_one_in_a_paused_queue_and_one_that_is_paused_before_its_first_message(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.run("pause", "")
    shard.run("pause", "g:none")
    assert look(shard, "g:a", "g:none") == [
        ("ready", 1, "1", "queue_paused", "", 0),
        ("", 0, "", "paused", "", 1),
    ]

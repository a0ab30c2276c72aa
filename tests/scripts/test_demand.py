"""What falls due soon, and how attempts went since an earlier question."""

from typing import Any

from lockstep.metrics import DURATION, histogram_fields
from lockstep.states import Verb
from tests.scripts.shard import HOUR, Near, Shard, message, settlement

APART, STALE = 10_000, 300_000


def ask(shard: Shard, soon: int = 60_000) -> list[Any]:
    return list(shard.run("demand", soon, APART, STALE))


def ran(shard: Shard, *seconds: float) -> None:
    for one in seconds:
        shard.settle(counters=histogram_fields(DURATION, ("act",), one))


def back(shard: Shard, ms: float, *fields: str) -> None:
    """Let questions have been asked earlier."""
    for field in fields:
        shard.redis.hincrby(shard.key("pace"), field, -int(ms))


def test_what_falls_due_soon(shard: Shard) -> None:
    shard.enqueue(
        message("1", "a"), message("2", "b"), message("3", "c", delay=30_000), message("4", "d", delay=HOUR)
    )
    one, other = shard.claim(2).leases
    shard.settle(
        settlement(one, Verb.RETRY, delay_ms=20_000), settlement(other, Verb.RETRY, delay_ms=2 * HOUR)
    )
    assert ask(shard)[0] == 2
    assert ask(shard, 3 * HOUR)[0] == 4


def test_the_first_question_knows_nothing_and_a_later_one_what_ran_since(shard: Shard) -> None:
    ran(shard, 0.5)
    assert ask(shard) == [0, 0, 0, 0]
    ran(shard, 0.25, 90_000.0)
    assert ask(shard)[1:] == [0, 0, 0]  # too soon to tell
    back(shard, 5000, "at")
    assert ask(shard)[1:] == [Near(5000), 2, 90_000_250_000]


def test_two_notes_are_kept_so_that_there_is_always_one_that_is_old_enough(shard: Shard) -> None:
    ask(shard)
    ran(shard, 1.0)
    back(shard, 12_000, "at")
    assert ask(shard)[1:3] == [Near(12_000), 1]
    ran(shard, 1.0)
    assert ask(shard)[1:3] == [Near(12_000), 2]
    back(shard, 11_000, "at", "before_at")
    assert ask(shard)[1:3] == [Near(11_000), 1]
    assert 0 < shard.redis.pttl(shard.key("pace")) <= STALE


def test_what_was_noted_before_redis_lost_its_data_or_long_ago_counts_no_more(shard: Shard) -> None:
    ran(shard, 1.0, 1.0)
    ask(shard)
    back(shard, 20_000, "at")
    shard.redis.delete(shard.key("stats"))
    ran(shard, 1.0)
    assert ask(shard)[1:] == [0, 0, 0]
    back(shard, STALE + 1000, "at")
    assert ask(shard)[1:] == [0, 0, 0]
    shard.redis.hincrby(shard.key("pace"), "at", HOUR)  # the clock stepped back
    assert ask(shard)[1:] == [0, 0, 0]
    assert "before_at" not in shard.snapshot()["pace"]

"""Priorities among ready groups, and delayed messages that keep their place."""

from collections import Counter

from lockstep import replies
from lockstep.states import GroupState, MessageState
from tests.scripts.shard import HOUR, Shard, message


def test_the_first_priority_goes_first_and_none_starves(shard: Shard) -> None:
    shard.enqueue(*(message(f"low-{n}", priority=9) for n in range(50)))
    shard.enqueue(*(message(f"mid-{n}", priority=5) for n in range(50)))
    shard.enqueue(*(message(f"top-{n}") for n in range(50)))
    claimed = [lease.id[:3] for _ in range(15) for lease in shard.claim(10).leases]
    assert Counter(claimed) == {"low": 50, "mid": 50, "top": 50}
    first = Counter(claimed[:48])
    assert first["top"] >= 40
    assert first["low"] > 0
    assert first["mid"] > 0


def test_a_group_has_the_priority_of_its_head(shard: Shard) -> None:
    shard.enqueue(
        message("1", "a", priority=3), message("2", "a"), message("3", "b"), message("4", "c", priority=1)
    )
    assert shard.snapshot()["ready:3"] == ["g:a"]
    assert [lease.id for lease in shard.claim(5).leases] == ["3", "4", "1"]


def test_paused_and_cancelled_groups_leave_the_lists_of_every_priority(shard: Shard) -> None:
    shard.enqueue(message("1", "a", priority=3), message("2", "b", priority=4))
    shard.run("pause", "g:a")
    shard.run("cancel", "2")
    assert shard.claim(5).leases == []
    shard.run("resume", "g:a")
    assert shard.snapshot()["ready:3"] == ["g:a"]
    counts = replies.queue_counts("q", [shard.run("counts")])
    assert counts.groups[GroupState.READY] == 1
    assert counts.oldest_ms is not None


def test_a_delayed_message_that_holds_its_place_blocks_its_group(shard: Shard) -> None:
    answers = shard.enqueue(message("1", "a", delay=HOUR, hold_place=True), message("2", "a"))
    assert [state for _, _, state in answers] == ["backoff", "waiting"]
    assert shard.snapshot()["blocked"] == {"g:a": shard.near(HOUR)}
    claim = shard.claim(5)
    assert claim.leases == []
    assert claim.next_due_ms is not None
    shard.redis.zadd(shard.key("blocked"), {"g:a": 1})
    row = shard.snapshot()["messages"]["1"]
    assert row[-1] is not None


def test_one_behind_others_blocks_when_it_becomes_the_head(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a", delay=HOUR, hold_place=True), message("3", "a"))
    lease = shard.lease()
    assert lease.id == "1"
    assert shard.state("2") == "waiting"
    shard.run("cancel", "1")
    shard.expire(lease.ref)
    shard.reap()
    assert shard.claim(5).leases == []
    assert shard.state("2") == "backoff"
    counts = replies.queue_counts("q", [shard.run("counts")])
    assert (counts.messages[MessageState.BACKOFF], counts.groups[GroupState.BLOCKED]) == (1, 1)


def test_without_a_group_there_is_no_place_to_hold(shard: Shard) -> None:
    assert shard.enqueue(message("1", delay=HOUR, hold_place=True)) == [(0, 0, "scheduled")]

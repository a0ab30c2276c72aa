"""Inspect and counts: what they answer, and that they write nothing."""

from collections.abc import Iterator

import pytest

from lockstep import replies
from lockstep.records import Attempt, MessageRecord, QueueCounts
from lockstep.states import GroupState, MessageState, Verb
from tests.scripts.shard import GARBAGE, HOUR, LEASE_MS, SLACK_MS, Shard, message, settlement


def inspect(shard: Shard, id_: str, limit: int = 1000) -> MessageRecord:
    return replies.message_record(id_, "q", shard.run("inspect", id_, limit))


def counts(shard: Shard) -> QueueCounts:
    return replies.queue_counts("q", [shard.run("counts")])


@pytest.fixture
def populated(shard: Shard) -> Iterator[Shard]:
    """One message in each state; looking at them changes nothing."""
    shard.enqueue(*(message(id_, id_) for id_ in ("done", "dead", "backoff", "running")))
    shard.enqueue(message("later", "x", delay=HOUR), message("blocking", "blocked", blocks=True))
    done, dead, backoff, _, blocking = shard.claim(10).leases
    shard.settle(
        settlement(done, Verb.COMPLETE, result=b"42", result_ttl_ms=HOUR),
        settlement(dead, Verb.DEAD_LETTER, reason="why", error=b'{"type":"E"}'),
        settlement(backoff, Verb.RETRY, delay_ms=HOUR),
        settlement(blocking, Verb.DEAD_LETTER, reason="why"),
    )
    shard.enqueue(
        message("behind", "running"), message("further", "running"), message("alone"), message("free", "f")
    )
    shard.reap(claimer="w1")
    before, sessions = shard.snapshot(), shard.sessions()
    yield shard
    assert shard.changes(before) == {}
    assert shard.sessions() == sessions


def test_inspect_tells_each_state(populated: Shard) -> None:
    ids = ("done", "dead", "backoff", "running", "later", "blocking", "behind", "alone", "free")
    states = ("done", "dead", "backoff", "running", "scheduled", "dead", "waiting", "waiting", "waiting")
    assert tuple(inspect(populated, id_).state for id_ in ids) == states


def test_inspect_of_an_unknown_id_answers_nothing(populated: Shard) -> None:
    assert populated.run("inspect", "unknown", 1000) is None


def test_inspect_tells_positions(populated: Shard) -> None:
    positions = {
        id_: inspect(populated, id_).position for id_ in ("behind", "further", "alone", "free", "running")
    }
    assert positions == {"behind": 1, "further": 2, "alone": 0, "free": 0, "running": None}
    assert inspect(populated, "further", limit=2).position is None


def test_inspect_tells_attempts(populated: Shard) -> None:
    now = populated.near()
    assert inspect(populated, "done").attempts == [Attempt("w", now, now, "done", None)]  # type: ignore[arg-type]
    assert inspect(populated, "dead").attempts == [Attempt("w", now, now, "dead", {"type": "E"})]  # type: ignore[arg-type]
    assert inspect(populated, "running").attempts == [Attempt("w", now, None, "running", None)]  # type: ignore[arg-type]
    assert inspect(populated, "behind").attempts == []


def test_inspect_tells_times_reason_and_result(populated: Shard) -> None:
    later = populated.near(HOUR)
    assert inspect(populated, "backoff").due_ms == later
    assert inspect(populated, "later").due_ms == later
    assert inspect(populated, "later").sequence is None
    assert inspect(populated, "blocking").due_ms is None
    assert inspect(populated, "dead").reason == "why"
    done = inspect(populated, "done")
    assert (done.result, done.group, done.sequence, done.actor, done.payload) == (
        b"42",
        "done",
        1,
        "act",
        b"p",
    )
    assert inspect(populated, "alone").group is None


def test_counts(populated: Shard) -> None:
    answer = counts(populated)
    assert answer.messages == {
        MessageState.SCHEDULED: 1,
        MessageState.WAITING: 4,
        MessageState.RUNNING: 1,
        MessageState.BACKOFF: 1,
        MessageState.DONE: 1,
        MessageState.DEAD: 2,
        MessageState.CANCELLED: 0,
    }
    assert answer.groups == {
        GroupState.READY: 2,
        GroupState.LEASED: 1,
        GroupState.BLOCKED: 2,
        GroupState.PAUSED: 0,
    }
    assert answer.oldest_ms is not None
    assert 0 <= answer.oldest_ms < SLACK_MS
    assert answer.stats == {"enqueued|act": 10}
    assert answer.claimers.keys() == {"w1"}
    assert 0 <= answer.claimers["w1"] < SLACK_MS


def test_counts_of_an_empty_shard(shard: Shard) -> None:
    answer = counts(shard)
    assert not any(answer.messages.values())
    assert not any(answer.groups.values())
    assert (answer.oldest_ms, answer.stats, answer.claimers) == (None, {}, {})
    assert shard.snapshot() == {}


def test_the_age_is_that_of_the_first_that_is_ready(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.redis.eval(
        "local row = cmsgpack.unpack(redis.call('HGET', KEYS[1], '1')); row[5] = row[5] - ARGV[1];"
        "return redis.call('HSET', KEYS[1], '1', cmsgpack.pack(row))",
        *(1, shard.key("messages"), LEASE_MS),
    )
    shard.enqueue(message("2", "b"))
    age = counts(shard).oldest_ms
    assert age is not None
    assert LEASE_MS <= age < LEASE_MS + SLACK_MS


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_row_that_is_garbage_can_be_looked_at_and_is_known(shard: Shard, garbage: bytes) -> None:
    shard.enqueue(message("1", "a"))
    shard.redis.hset(shard.key("messages"), "1", garbage)
    record = inspect(shard, "1")
    assert (record.state, record.group, record.actor, record.payload) == ("waiting", None, "", garbage)
    assert shard.enqueue(message("1", "a")) == [(1, 0, "waiting")]

"""Accepting messages: order, idempotence, delays."""

from lockstep.states import Verb
from tests.scripts.shard import HOUR, LEASE_MS, Near, Shard, message, row, settlement


def test_a_batch_keeps_its_order_inside_each_group(shard: Shard) -> None:
    now = shard.near()
    answers = shard.enqueue(message("1", "a"), message("2", "b"), message("3", "a"), message("4"))
    assert answers == [(0, 1, "waiting"), (0, 2, "waiting"), (0, 3, "waiting"), (0, 4, "waiting")]
    assert shard.snapshot() == {
        "meta": {"seq": "4"},
        "messages": {
            "1": ["g:a", "act", "p", 1, now],
            "2": ["g:b", "act", "p", 2, now],
            "3": ["g:a", "act", "p", 3, now],
            "4": ["m:4", "act", "p", 4, now],
        },
        "group:g:a": ["1", "3"],
        "group:g:b": ["2"],
        "ready": ["g:a", "g:b", "m:4"],
        "wake": ["1"],
        "stats": {"enqueued|act": "4"},
    }


def test_a_payload_stays_the_bytes_it_was(shard: Shard) -> None:
    payload = bytes(range(256))
    shard.enqueue(message("1", payload=payload))
    assert shard.lease().payload == payload


def test_a_group_that_is_not_absent_is_not_made_ready_again(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.lease()
    before = shard.snapshot()
    shard.enqueue(message("2", "a"))
    changes = shard.changes(before)
    assert changes.keys() == {"meta", "messages", "group:g:a", "stats"}
    assert changes["group:g:a"] == ["1", "2"]


def test_a_known_id_writes_nothing_but_its_count(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"))
    shard.lease()
    before = shard.snapshot()
    again = [message("2", "other", payload=b"other"), message("1", "a")]
    assert shard.enqueue(*again) == [(1, 2, "waiting"), (1, 1, "running")]
    assert shard.changes(before) == {"stats": {"enqueued|act": "2", "deduplicated": "2"}}


def test_a_finished_id_is_known_while_its_record_is_kept(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    assert shard.enqueue(message("1", "a")) == [(1, 1, "done")]


def test_an_id_twice_in_a_batch_is_accepted_once(shard: Shard) -> None:
    twice = [message("1", "a"), message("1", "b"), message("2", "a", delay=HOUR), message("2", "a")]
    assert shard.enqueue(*twice) == [
        (0, 1, "waiting"),
        (1, 1, "waiting"),
        (0, 0, "scheduled"),
        (1, 0, "scheduled"),
    ]
    state = shard.snapshot()
    assert state["messages"].keys() == {"1", "2"}
    assert state["ready"] == ["g:a"]
    assert state["stats"] == {"enqueued|act": "2", "deduplicated": "2"}


def test_a_late_copy_of_an_earlier_call_does_nothing(shard: Shard) -> None:
    shard.enqueue(message("1"), number="7")
    shard.settle(settlement(shard.lease(), Verb.COMPLETE), keep=0)  # its id is known no more
    shard.enqueue(message("2"), number="8")
    before = shard.snapshot()
    assert shard.enqueue(message("1"), number="7") == []
    assert shard.changes(before) == {}


def test_a_resent_call_answers_as_before_and_changes_nothing(shard: Shard) -> None:
    first = shard.enqueue(message("1", "a"), number="7")
    shard.lease()
    before = shard.snapshot()
    assert shard.enqueue(message("1", "a"), number="7") == first == [(0, 1, "waiting")]
    assert shard.changes(before) == {}
    assert 0 < shard.redis.pttl(shard.key("session:sender")) <= 600_000


def test_a_delayed_message_waits_outside_its_group(shard: Shard) -> None:
    now, later = shard.near(), shard.near(HOUR)
    assert shard.enqueue(message("1", "a", delay=HOUR), message("2", "a")) == [
        (0, 0, "scheduled"),
        (0, 2, "waiting"),
    ]
    member = "0000000000000001" + "1"
    assert shard.snapshot() == {
        "meta": {"seq": "2"},
        "messages": {"1": row("g:a", 0, now, member=member), "2": ["g:a", "act", "p", 2, now]},
        "scheduled": {member: later},
        "group:g:a": ["2"],
        "ready": ["g:a"],
        "wake": ["1"],
        "stats": {"enqueued|act": "2"},
    }


def test_a_time_to_come_is_a_delay_by_the_servers_clock(shard: Shard) -> None:
    at = int(shard.now(HOUR))
    assert shard.enqueue(message("1", "a", delay=f"={at}")) == [(0, 0, "scheduled")]
    assert shard.snapshot()["scheduled"] == {"0000000000000001" + "1": float(at)}


def test_a_time_that_has_passed_is_no_delay(shard: Shard) -> None:
    assert shard.enqueue(message("1", "a", delay=f"={int(shard.now(-HOUR))}")) == [(0, 1, "waiting")]


def test_a_message_that_falls_due_before_all_others_wakes_an_idle_consumer(shard: Shard) -> None:
    shard.enqueue(message("1", delay=HOUR))
    assert shard.redis.delete(shard.key("wake")) == 1
    shard.enqueue(message("2", delay=2 * HOUR))
    assert "wake" not in shard.snapshot()
    shard.enqueue(message("3", delay=HOUR // 2))
    assert shard.snapshot()["wake"] == ["1"]


def test_a_blocking_message_says_so_in_its_row(shard: Shard) -> None:
    now = shard.near()
    shard.enqueue(message("1", "a", blocks=True))
    assert shard.snapshot()["messages"] == {"1": row("g:a", 1, now, blocks=1)}


def test_wake_tokens_are_bounded(shard: Shard) -> None:
    for number in range(20):
        shard.enqueue(message(f"x{number}", f"g{number}"), message(f"y{number}", delay=HOUR - 1000 * number))
    assert shard.snapshot()["wake"] == ["1"]
    for _ in range(3):
        shard.claim(2)
        shard.reap()
        assert shard.snapshot()["wake"] == ["1"]


def test_near_is_not_near_everything() -> None:
    assert Near(LEASE_MS) == LEASE_MS + 10
    assert Near(LEASE_MS) != 0

"""What an enqueue knows: records of what was asked, messages of which there is only one, and why it refuses."""

from typing import Any

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, once, settlement

KEYED: dict[str, Any] = {"once": once(3)}


def record(shard: Shard, name: str) -> Any:
    packed = shard.redis.get(shard.record(name))
    return packed and shard.redis.execute_command("EVAL", "return cmsgpack.unpack(ARGV[1])", 0, packed)


# -- repeats --------------------------------------------------------------------------------------------------------


def test_a_first_one_leaves_a_record_that_expires_and_nothing_in_its_row(shard: Shard) -> None:
    now = shard.near()
    assert shard.enqueue(message("1", "a", **KEYED), records=["key:k"]) == [(0, 1, "waiting")]
    assert shard.snapshot()["messages"] == {"1": ["g:a", "act", "p", 1, now]}
    assert record(shard, "key:k") == [b"print", b"1", 1, b"waiting"]
    assert HOUR - 60_000 < shard.redis.pttl(shard.record("key:k")) <= HOUR


def test_a_repeat_gets_the_first_answer_and_writes_nothing_but_its_count(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **KEYED), records=["key:k"])
    before = shard.snapshot()
    assert shard.enqueue(message("2", "a", **KEYED), records=["key:k"]) == [(1, 1, "waiting", "1")]
    assert shard.changes(before) == {"stats": {"enqueued|act": "1", "deduplicated": "1"}}
    shard.lease()
    assert shard.enqueue(message("2", "a", **KEYED), records=["key:k"]) == [(1, 1, "running", "1")]


def test_a_repeat_is_known_when_its_message_is_long_forgotten(shard: Shard) -> None:
    shard.enqueue(message("1", once=once(3, 4)), records=["key:k", "id:1"])
    shard.settle(settlement(shard.lease(), Verb.COMPLETE), keep=0)
    assert shard.state("1") is None
    before = shard.snapshot()
    for name in ("key:k", "id:1"):
        assert shard.enqueue(message("1", **KEYED), records=[name]) == [(1, 1, "waiting", "1")]
    assert shard.changes(before).keys() == {"stats"}


def test_something_else_under_the_same_key_is_refused_and_nothing_is_written(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **KEYED), records=["key:k"])
    before, sessions = shard.snapshot(), shard.sessions()
    other = message("2", "a", once=once(3, 4, print_="other"))
    batch = [message("3", "a"), other, message("4", once=once(5))]
    assert shard.enqueue(*batch, records=["id:2", "key:k", "key:l"]) == ["conflict", 2, 2]
    assert shard.changes(before) == {}
    assert shard.sessions() == sessions
    assert record(shard, "id:2") is None
    assert record(shard, "key:l") is None


def test_a_known_id_is_recorded_under_a_new_key(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    assert shard.enqueue(message("1", "a", **KEYED), records=["key:k"]) == [(1, 1, "waiting")]
    assert shard.enqueue(message("2", "a", **KEYED), records=["key:k"]) == [(1, 1, "waiting", "1")]


def test_a_key_twice_in_a_batch_is_accepted_once(shard: Shard) -> None:
    batch = [message("1", "a", **KEYED), message("2", "a", **KEYED), message("3", "a")]
    assert shard.enqueue(*batch, records=["key:k"]) == [
        (0, 1, "waiting"),
        (1, 1, "waiting", "1"),
        (0, 2, "waiting"),
    ]
    assert shard.snapshot()["group:g:a"] == ["1", "3"]
    clash = [message("5", once=once(3)), message("6", once=once(3, print_="other"))]
    assert shard.enqueue(*clash, records=["key:l"]) == ["conflict", 2, 1]


def test_names_of_one_message_may_meet_in_a_batch(shard: Shard) -> None:
    batch = [message("1", once=once(3)), message("2", once=once(3, 4)), message("3", once=once(4))]
    answers = shard.enqueue(*batch, records=["key:k", "key:l"])
    assert answers == [(0, 1, "waiting"), (1, 1, "waiting", "1"), (1, 1, "waiting", "1")]
    assert record(shard, "key:l") == [b"print", b"1", 1, b"waiting"]


def test_a_delayed_one_is_known_too(shard: Shard) -> None:
    shard.enqueue(message("1", "a", delay=HOUR, **KEYED), records=["key:k"])
    assert shard.enqueue(message("2", "a", delay=HOUR, **KEYED), records=["key:k"]) == [
        (1, 0, "scheduled", "1")
    ]


# -- only one -------------------------------------------------------------------------------------------------------


def unique(until: str | int, print_: str = "u") -> dict[str, Any]:
    return {"unique": [print_, until]}


@pytest.mark.parametrize("until", ["started", "finished"])
def test_while_one_waits_another_is_kept_out(shard: Shard, until: str) -> None:
    shard.enqueue(message("1", "a", **unique(until)))
    state = shard.snapshot()
    assert state["unique"] == {"u": "1"}
    assert state["messages"].keys() == {"1"}
    assert shard.enqueue(message("2", "a", **unique(until))) == [(2, 1, "waiting", "1")]
    assert shard.changes(state) == {"stats": {"enqueued|act": "1", "deduplicated": "1"}}
    assert shard.enqueue(message("3", "a", **unique(until, "v"))) == [(0, 2, "waiting")]


def test_until_it_has_started(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **unique("started")))
    lease = shard.lease()
    assert "unique" not in shard.snapshot()
    assert shard.enqueue(message("2", "a", **unique("started"))) == [(0, 2, "waiting")]
    shard.settle(settlement(lease, Verb.RETRY))  # it has started already: only one of them keeps others out
    assert shard.snapshot()["unique"] == {"u": "2"}
    shard.lease()
    assert shard.snapshot()["unique"] == {"u": "2"}


@pytest.mark.parametrize(
    "end", ["complete", "result", "dead", "cancel", "cancelled while it ran", "crash", "cancel at once"]
)
def test_until_it_is_finished(shard: Shard, end: str) -> None:
    shard.enqueue(message("1", "a", **unique("finished")))
    if end == "cancel at once":
        shard.run("cancel", "1")
    else:
        shard.settle(settlement(shard.lease(), Verb.RETRY))
        lease = shard.lease()
        assert shard.enqueue(message("2", "a", **unique("finished"))) == [(2, 1, "running", "1")]
        if end == "complete":
            shard.settle(settlement(lease, Verb.COMPLETE))
        elif end == "result":
            shard.settle(settlement(lease, Verb.COMPLETE, result=b"r", result_ttl_ms=1000))
        elif end == "dead":
            shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="error"))
        elif end == "cancel":
            shard.settle(settlement(lease, Verb.CANCEL))
        elif end == "cancelled while it ran":
            shard.run("cancel", "1")
            shard.settle(settlement(lease, Verb.RETRY))
        else:
            shard.expire(lease.ref)
            shard.reap(crashes=1)
    assert "unique" not in shard.snapshot()
    assert shard.enqueue(message("3", "a", **unique("finished"))) == [(0, 2, "waiting")]


def test_a_resent_claim_still_releases_at_the_end(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **unique("finished")))
    (first,) = shard.claim(number="7").leases
    (again,) = shard.claim(number="7").leases
    assert again == first
    shard.settle(settlement(first, Verb.COMPLETE))
    assert "unique" not in shard.snapshot()


def test_for_a_period_whatever_becomes_of_it(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **unique(HOUR)))
    assert "unique" not in shard.snapshot()
    assert HOUR - 60_000 < shard.redis.pttl(shard.key("unique:u")) <= HOUR
    assert shard.enqueue(message("2", "a", **unique(HOUR))) == [(2, 1, "waiting", "1")]
    shard.settle(settlement(shard.lease(), Verb.COMPLETE), keep=0)
    assert shard.enqueue(message("2", "a", **unique(HOUR))) == [(2, 1, "waiting", "1")]
    shard.redis.delete(shard.key("unique:u"))
    assert shard.enqueue(message("2", "a", **unique(HOUR))) == [(0, 2, "waiting")]


def test_in_a_batch_there_is_only_one_too(shard: Shard) -> None:
    batch = [message(str(n), "a", **unique("started")) for n in range(3)]
    assert shard.enqueue(*batch) == [(0, 1, "waiting"), (2, 1, "waiting", "0"), (2, 1, "waiting", "0")]


@pytest.mark.parametrize("lost", ["message", "end"])
def test_an_entry_that_was_not_released_is_overwritten(shard: Shard, lost: str) -> None:
    shard.enqueue(message("1", "a", **unique("finished")))
    if lost == "message":
        shard.redis.hdel(shard.key("messages"), "1")
    else:
        shard.settle(settlement(shard.lease(), Verb.COMPLETE))
        shard.redis.hset(shard.key("unique"), "u", "1")
    assert shard.enqueue(message("2", "b", **unique("finished")))[0][0] == 0
    assert shard.snapshot()["unique"] == {"u": "2"}


def test_one_that_is_kept_out_is_known_by_its_key(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **unique("started")))
    shard.enqueue(message("2", "a", **unique("started"), **KEYED), records=["key:k"])
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    assert shard.enqueue(message("3", "a", **unique("started"), **KEYED), records=["key:k"]) == [
        (1, 1, "done", "1")
    ]


def test_a_late_end_releases_nothing_of_another(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **unique("finished")))
    lease = shard.lease()
    shard.redis.delete(shard.key("unique"))  # Redis forgot
    shard.enqueue(message("2", "b", **unique("finished")))
    shard.settle(settlement(lease, Verb.COMPLETE))
    assert shard.snapshot()["unique"] == {"u": "2"}


# -- not now --------------------------------------------------------------------------------------------------------


def switch(shard: Shard, *arguments: str) -> int:
    keys = [shard.control, shard.intake]
    return int(shard.run_on("switch_intake", keys, *arguments))


def test_while_the_intake_is_off_nothing_is_written_but_by_running_actors(shard: Shard) -> None:
    shard.enqueue(message("1"), number="0")
    assert switch(shard, "off", "night", "run") == 1
    before, sessions = shard.snapshot(), shard.sessions()
    for batch in ([message("2")], [message("3", "a", **KEYED), message("4")]):
        kind, since, why = shard.enqueue(*batch, records=["key:k"])
        assert (kind, why) == ("off", "night")
        assert float(since) == shard.near()
    assert shard.changes(before) == {}
    assert shard.sessions() == sessions
    assert shard.enqueue(message("1"), number="0") == [
        (0, 1, "waiting")
    ]  # a resent call: it was accepted before
    assert shard.enqueue(message("5"), follow_up=True) == [(0, 2, "waiting")]
    assert switch(shard, "on", "", "run") == 1
    assert shard.enqueue(message("2")) == [(0, 3, "waiting")]


def test_what_an_operator_said_stays_at_boot(shard: Shard) -> None:
    assert switch(shard, "on", "", "boot") == 0
    assert switch(shard, "off", "setting", "boot") == 1
    assert switch(shard, "off", "setting", "boot") == 0
    assert switch(shard, "on", "", "boot") == 1
    assert switch(shard, "off", "night", "run") == 1
    assert switch(shard, "off", "still", "run") == 0
    assert switch(shard, "on", "", "boot") == 0
    assert shard.enqueue(message("1"))[0] == "off"
    assert switch(shard, "on", "", "run") == 1
    assert switch(shard, "off", "setting", "boot") == 0
    assert shard.enqueue(message("1")) == [(0, 1, "waiting")]


def test_a_full_queue_takes_all_or_none_and_still_answers_repeats(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b", **KEYED), records=["key:k"], most=2)
    before, sessions = shard.snapshot(), shard.sessions()
    assert shard.enqueue(message("3"), most=2) == ["full", 2]
    assert shard.enqueue(message("1"), message("3", delay=HOUR), most=2) == ["full", 2]
    assert shard.enqueue(message("3", **unique(HOUR)), most=2) == ["full", 2]
    assert shard.changes(before) == {}
    assert shard.sessions() == sessions
    repeats = [message("1"), message("9", **KEYED)]
    assert shard.enqueue(*repeats, records=["key:k"], most=2) == [(1, 1, "waiting"), (1, 2, "waiting", "2")]


def test_what_is_finished_fills_no_queue(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"), message("3", "c"), message("4", "d"), most=4)
    done, dead, _ = shard.claim(3).leases
    shard.settle(settlement(done, Verb.COMPLETE), settlement(dead, Verb.DEAD_LETTER, reason="error"))
    shard.run("cancel", "4")
    assert shard.enqueue(*(message(str(n)) for n in (5, 6, 7)), most=3) == ["full", 1]
    assert len(shard.enqueue(message("5"), message("6"), most=3)) == 2


def test_a_check_writes_nothing(shard: Shard) -> None:
    shard.enqueue(message("1", "a", **KEYED), records=["key:k"])
    before, sessions = shard.snapshot(), shard.sessions()
    assert shard.enqueue(message("2", "a"), check=True) == []
    other = message("2", "a", once=once(3, print_="other"))
    assert shard.enqueue(other, records=["key:k"], check=True) == ["conflict", 1, 1]
    assert shard.enqueue(message("2"), most=1, check=True) == ["full", 1]
    assert shard.changes(before) == {}
    assert shard.sessions() == sessions

"""Messages that wait for their time go on now."""

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement


def promote(shard: Shard, id_: str, *, scheduled: bool = True, number: str | None = None) -> object:
    return shard.run("promote", "operator", number or shard.number(), id_, int(scheduled))


def test_a_scheduled_one_joins_the_tail_of_its_group(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a", delay=HOUR), message("3", "a"))
    before, number = shard.snapshot(), shard.number()
    assert promote(shard, "2", number=number) == [b"scheduled", b"act", 1]
    changed = shard.changes(before)
    assert changed.keys() == {"meta", "messages", "scheduled", "group:g:a"}
    assert (changed["group:g:a"], changed["scheduled"]) == (["1", "3", "2"], None)
    assert changed["messages"]["2"][3] == 4
    before = shard.snapshot()
    assert promote(shard, "2", number=number) == [b"scheduled", b"act", 1]
    assert promote(shard, "2") == [b"waiting", b"act", 0]
    assert shard.changes(before) == {}


@pytest.mark.parametrize("group", ["a", None])
def test_a_scheduled_one_may_start_at_once(shard: Shard, group: str | None) -> None:
    shard.enqueue(message("1", group, delay=HOUR))
    shard.redis.delete(shard.key("wake"))
    promote(shard, "1")
    assert "wake" in shard.snapshot()
    assert shard.lease().id == "1"


def test_a_head_in_back_off_is_due(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    before = shard.snapshot()
    assert promote(shard, "1", scheduled=False) == [b"backoff", b"act", 1]
    changed = shard.changes(before)
    assert changed.keys() - {"wake"} == {"blocked", "ready"}
    assert (changed["blocked"], changed["ready"]) == (None, ["g:a"])
    lease = shard.lease()
    assert (lease.id, lease.failures) == ("1", 1)


def test_one_that_holds_its_place_holds_it_no_longer(shard: Shard) -> None:
    shard.enqueue(
        message("1", "a", delay=HOUR, hold_place=True), message("2", "a", delay=HOUR, hold_place=True)
    )
    assert promote(shard, "1") == [b"backoff", b"act", 1]
    assert promote(shard, "2") == [b"waiting", b"act", 1]
    assert promote(shard, "2") == [b"waiting", b"act", 0]
    for expected in ("1", "2"):
        lease = shard.lease()
        assert lease.id == expected
        shard.settle(settlement(lease, Verb.COMPLETE))


def test_a_paused_group_stays_paused(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    shard.run("pause", "g:a")
    assert promote(shard, "1") == [b"backoff", b"act", 1]
    assert shard.claim(5).leases == []
    shard.run("resume", "g:a")
    assert shard.lease().id == "1"


def test_what_does_not_wait_for_its_time_stays_as_it_is(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b", delay=HOUR), message("3", "c"), message("4", "d"))
    shard.lease()
    shard.settle(settlement(shard.lease(), Verb.COMPLETE))
    shard.settle(settlement(shard.lease(), Verb.DEAD_LETTER, reason="why"))
    shard.enqueue(message("5", "a"))
    shard.run("cancel", "5")
    before = shard.snapshot()
    assert promote(shard, "1") == [b"running", b"act", 0]
    assert promote(shard, "2", scheduled=False) == [b"scheduled", b"act", 0]
    assert promote(shard, "3") == [b"done", b"act", 0]
    assert promote(shard, "4") == [b"dead", b"act", 0]
    assert promote(shard, "5") == [b"cancelled", b"act", 0]
    assert promote(shard, "nosuch") is None
    assert shard.changes(before) == {}

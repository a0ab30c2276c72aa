"""Taking messages back, wherever they are."""

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement


def test_a_waiting_message_is_cancelled_and_its_group_goes_on(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "a"))
    before = shard.snapshot()
    assert shard.run("cancel", "2") == [b"waiting", b"act"]
    changed = shard.changes(before)
    assert changed.keys() == {"messages", "group:g:a", "cancelled", "stats"}
    assert changed["stats"]["cancelled|act"] == "1"
    assert (changed["group:g:a"], changed["cancelled"]) == (["1", "3"], {"2": shard.near()})
    assert shard.state("2") == "cancelled"
    before = shard.snapshot()
    assert shard.run("cancel", "2") == [b"cancelled", b"act"]
    assert shard.changes(before) == {}


def test_the_last_message_takes_its_group_with_it(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.run("cancel", "1")
    state = shard.snapshot()
    assert state.keys() - {"wake"} == {"meta", "messages", "cancelled", "stats"}
    shard.enqueue(message("2", "a"))
    assert [lease.id for lease in shard.claim(5).leases] == ["2"]


def test_a_head_in_backoff_lets_the_next_one_go(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    assert shard.run("cancel", "1") == [b"backoff", b"act"]
    assert "blocked" not in shard.snapshot()
    assert shard.lease().id == "2"


@pytest.mark.parametrize("delay", [0, HOUR])
def test_a_message_without_a_group(shard: Shard, delay: int) -> None:
    shard.enqueue(message("1", delay=delay))
    assert shard.run("cancel", "1") == [b"scheduled" if delay else b"waiting", b"act"]
    assert shard.claim(5).leases == []
    assert shard.snapshot().keys() - {"wake"} == {"meta", "messages", "cancelled", "stats"}


def test_one_that_runs_is_told_with_its_renewal_and_ends_cancelled_unless_it_is_done(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    lease = shard.lease()
    assert shard.run("cancel", "1") == [b"running", b"act"]
    assert shard.run("extend", HOUR, lease.ref, lease.token) == [2]
    assert shard.state("1") == "running"
    assert shard.settle(settlement(lease, Verb.RETRY, delay_ms=HOUR)) == [2]
    assert shard.state("1") == "cancelled"
    second = shard.lease()
    shard.run("cancel", "2")
    shard.settle(settlement(second, Verb.COMPLETE))
    assert shard.state("2") == "done"


def test_the_worker_of_one_that_runs_is_told_by_its_reaper_until_the_lease_ends(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    lease = shard.lease()
    assert shard.reap(claimer="w").cancelling == []
    before = shard.snapshot()
    shard.run("cancel", "1")
    changed = shard.changes(before)
    assert changed.keys() == {"leases", "cancelling"}
    assert changed["cancelling"] == [lease.token]
    before = shard.snapshot()
    shard.run("cancel", "1")
    assert shard.changes(before) == {}
    assert shard.reap(claimer="w").cancelling == [lease.token]
    assert shard.reap().cancelling == []  # who claims nothing holds nothing
    shard.settle(settlement(lease, Verb.CANCEL))
    assert "cancelling" not in shard.snapshot()
    assert shard.state("1") == "cancelled"
    assert shard.lease().id == "2"


@pytest.mark.parametrize("verb", [Verb.COMPLETE, Verb.RELEASE])
def test_nobody_is_told_any_more_when_the_lease_has_ended(shard: Shard, verb: Verb) -> None:
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    shard.run("cancel", "1")
    assert shard.settle(settlement(lease, verb)) == [1 if verb is Verb.COMPLETE else 2]
    assert "cancelling" not in shard.snapshot()


def test_a_settle_by_a_worker_that_did_not_know_is_counted_as_cancelled(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    shard.run("cancel", "1")
    number, before = shard.number(), shard.snapshot()
    one = settlement(lease, Verb.RETRY, delay_ms=HOUR)
    assert shard.settle(one, number=number, counters={"attempts|act|retry": 1}) == [2]
    stats = shard.changes(before)["stats"]
    assert (stats["attempts|act|retry"], stats["attempts|act|cancelled"]) == ("0", "1")
    assert stats["cancelled|act"] == "1"
    before = shard.snapshot()
    assert shard.settle(one, number=number, counters={"attempts|act|retry": 1}) == [2]
    assert shard.changes(before) == {}


def test_one_that_had_not_started_has_no_attempt(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    shard.run("cancel", "1")
    assert shard.settle(settlement(lease, Verb.RELEASE)) == [2]
    assert shard.run("inspect", "1", 10)[11] == []


def test_one_whose_worker_died_is_cancelled_instead_of_run_again(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    lease = shard.lease()
    shard.run("cancel", "1")
    shard.expire(lease.ref)
    assert shard.reap().cancelled == ["1"]
    assert shard.lease().id == "2"


@pytest.mark.parametrize(("verb", "state"), [(Verb.COMPLETE, b"done"), (Verb.DEAD_LETTER, b"dead")])
def test_what_has_ended_is_not_cancelled(shard: Shard, verb: Verb, state: bytes) -> None:
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), verb))
    before = shard.snapshot()
    assert shard.run("cancel", "1") == [state, b"act"]
    assert shard.changes(before) == {}


def test_an_unknown_id(shard: Shard) -> None:
    assert shard.run("cancel", "1") is None
    assert shard.snapshot() == {}


def test_a_cancelled_record_goes_with_its_age(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.run("cancel", "1")
    shard.reap()
    assert shard.state("1") == "cancelled"
    shard.redis.zadd(shard.key("cancelled"), {"1": shard.now(-2 * HOUR)})
    shard.reap(keep_ms=HOUR)
    assert shard.state("1") is None

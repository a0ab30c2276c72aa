"""Pausing and resuming a shard, or one group of it."""

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement


@pytest.fixture(autouse=True)
def sent(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "b"))


def test_pausing_a_ready_group_takes_it_out_of_the_ready_list(shard: Shard) -> None:
    before = shard.snapshot()
    assert shard.run("pause", "g:a") == 1
    assert shard.changes(before) == {"paused": ["g:a"], "halted": ["g:a"], "ready": ["g:b"]}
    before = shard.snapshot()
    assert shard.run("pause", "g:a") == 0
    assert shard.changes(before) == {}
    assert [lease.id for lease in shard.claim(5).leases] == ["3"]


def test_resuming_puts_it_behind_those_that_wait_and_leaves_nothing_behind(shard: Shard) -> None:
    before = shard.snapshot()
    shard.run("pause", "g:a")
    assert shard.run("resume", "g:a") == 1
    assert shard.changes(before) == {"ready": ["g:b", "g:a"]}
    assert shard.run("resume", "g:a") == 0
    assert shard.changes(before) == {"ready": ["g:b", "g:a"]}


def test_resuming_wakes_who_waits(shard: Shard) -> None:
    shard.run("pause", "g:a")
    shard.claim(5)
    assert "wake" not in shard.snapshot()
    shard.run("resume", "g:a")
    assert shard.snapshot()["wake"] == ["1"]


def test_a_group_paused_while_it_runs_stops_behind_what_runs(shard: Shard) -> None:
    lease = shard.lease()
    shard.run("pause", "g:a")
    assert shard.settle(settlement(lease, Verb.COMPLETE)) == [1]
    claim = shard.claim(5)
    assert ([one.id for one in claim.leases], claim.more) == (["3"], False)
    assert shard.snapshot()["halted"] == ["g:a"]
    shard.run("resume", "g:a")
    assert shard.lease().id == "2"


def test_a_retry_of_a_paused_group_keeps_its_place(shard: Shard) -> None:
    lease = shard.lease()
    shard.run("pause", "g:a")
    shard.settle(settlement(lease, Verb.RETRY, delay_ms=HOUR))
    assert shard.run("resume", "g:a") == 1
    assert shard.snapshot()["blocked"].keys() == {"g:a"}
    assert [one.id for one in shard.claim(5).leases] == ["3"]


def test_a_group_may_be_paused_before_its_first_message(shard: Shard) -> None:
    shard.run("pause", "g:c")
    shard.enqueue(message("4", "c"))
    assert [lease.id for lease in shard.claim(5).leases] == ["1", "3"]
    shard.run("resume", "g:c")
    assert shard.lease().id == "4"


def test_nothing_is_claimed_of_a_paused_shard(shard: Shard) -> None:
    shard.enqueue(message("5", "d", delay=HOUR))
    shard.run("reap", "w", 1000, HOUR, 3, 200, HOUR)
    before = shard.snapshot()
    assert shard.run("pause", "") == 1
    assert shard.run("pause", "") == 0
    claim = shard.claim(5)
    assert (claim.leases, claim.more, claim.next_due_ms) == ([], False, None)
    assert shard.changes(before).keys() == {"meta"}
    shard.redis.delete(shard.key("wake"))
    assert shard.run("resume", "") == 1
    assert shard.run("resume", "") == 0
    assert shard.snapshot()["wake"] == ["1"]
    assert [lease.id for lease in shard.claim(5).leases] == ["1", "3"]


def test_a_resent_claim_answers_though_it_was_paused_meanwhile(shard: Shard) -> None:
    first = shard.claim(2, number="9")
    shard.run("pause", "")
    assert shard.claim(2, number="9").leases == first.leases

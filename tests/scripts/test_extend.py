"""Renewing leases."""

from tests.scripts.shard import LEASE_MS, Shard, message


def test_only_leases_that_hold_are_renewed(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"), message("3", "c"))
    a, b, c = shard.claim(3).leases
    for ref in ("g:a", "g:b"):
        shard.redis.zadd(shard.key("expiries"), {ref: shard.now(1000 * LEASE_MS)})
    before = shard.snapshot()
    stale = b.token[:-1] + "x"
    pairs = (a.ref, a.token, b.ref, stale, "g:none", a.token, c.ref, c.token)
    assert shard.run("extend", LEASE_MS, *pairs) == [1, 0, 0, 1]
    renewed = shard.near(LEASE_MS)
    assert shard.changes(before) == {"expiries": before["expiries"] | {"g:a": renewed, "g:c": renewed}}


def test_a_lease_that_ended_but_was_not_reaped_is_still_its_holders(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    lease = shard.lease()
    shard.reap()
    shard.expire("g:a")
    assert shard.run("extend", LEASE_MS, lease.ref, lease.token) == [1]
    assert shard.reap().retried == []


def test_a_stale_token_renews_nothing(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    stale = shard.lease()
    shard.reap()
    shard.expire("g:a")
    assert shard.reap().retried == ["1"]
    for held in (False, True):
        if held:
            shard.lease()
        before = shard.snapshot()
        assert shard.run("extend", 1000 * LEASE_MS, stale.ref, stale.token) == [0]
        assert shard.changes(before) == {}

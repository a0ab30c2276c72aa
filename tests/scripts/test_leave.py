"""A claimer stops in order."""

from tests.scripts.shard import Shard, message


def test_leave_forgets_the_claimer_and_its_sessions_and_nothing_else(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.claim()
    for claimer in ("w1", "w2"):
        shard.reap(claimer=claimer)
    before = shard.snapshot()
    assert shard.sessions() == ["claimer", "sender"]
    for _ in range(2):
        assert shard.run("leave", "w1", "claimer", "unknown") == 1
        assert shard.changes(before) == {"claimers": {"w2": shard.near()}}
        assert shard.sessions() == ["sender"]

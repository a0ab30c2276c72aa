"""Done messages with a retention of their own."""

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement


def test_neither_age_nor_number_decides_about_them(shard: Shard) -> None:
    shard.enqueue(message("long", retention=HOUR), message("none", retention=0), message("usual"))
    leases = shard.claim(3).leases
    shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in leases), keep=1)
    state = shard.snapshot()
    assert state["done"].keys() == {"long", "usual"}
    assert state["done_order"] == ["usual"]
    assert state["kept"] == {"long": shard.near(HOUR)}
    assert state["messages"].keys() == {"long", "usual"}
    assert shard.state("long") == "done"
    assert shard.state("none") is None
    shard.reap(keep_ms=-1000)
    assert shard.snapshot()["done"].keys() == {"long"}
    shard.redis.zadd(shard.key("kept"), {"long": 1}, xx=True)
    shard.reap()
    assert not {"done", "kept", "messages"} & shard.snapshot().keys()


def test_they_are_kept_where_no_others_are(shard: Shard) -> None:
    shard.enqueue(message("long", retention=HOUR), message("usual"))
    leases = shard.claim(2).leases
    shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in leases), keep=0)
    assert shard.snapshot()["messages"].keys() == {"long"}


def test_a_dead_letter_is_no_done_message(shard: Shard) -> None:
    shard.enqueue(message("1", retention=0))
    shard.settle(settlement(shard.lease(), Verb.DEAD_LETTER))
    assert shard.state("1") == "dead"

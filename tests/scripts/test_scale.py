"""However much waits, a claim and a count do the same: they run the same commands, and none that looks through much."""

from collections.abc import Callable
from typing import Any

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, message, settlement

#: Commands whose time grows with what they are given or with what a key holds, when they are not bounded.
LONG = {"lrange", "smembers", "hkeys", "hvals", "lrem", "linsert", "sort", "keys", "scan"}


def one_group(shard: Shard, messages: int) -> None:
    send(shard, messages, lambda n: message(f"m{n}", "one"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))


def blocked_groups(shard: Shard, messages: int) -> None:
    send(shard, messages, lambda n: message(f"m{n}", f"g{n}"))
    while leases := shard.claim(500).leases:
        shard.settle(*(settlement(lease, Verb.RETRY, delay_ms=HOUR) for lease in leases))


def limited_groups(shard: Shard, messages: int) -> None:
    shard.redis.hset(shard.limits, "run:rate:slow", "1/3600000/1/fleet")
    send(shard, messages, lambda n: [*message(f"m{n}", f"g{n}")[:2], "slow", *message("")[3:]])
    while shard.claim(1).more:
        pass


def ready_groups(shard: Shard, messages: int) -> None:
    send(shard, messages, lambda n: message(f"m{n}", f"g{n}"))


def send(shard: Shard, messages: int, make: Callable[[int], list[Any]]) -> None:
    for first in range(0, messages, 500):
        shard.enqueue(*(make(number) for number in range(first, min(first + 500, messages))))


def commands(shard: Shard) -> dict[str, int]:
    """What one message costs: its enqueue, its claim, its end, and a look at the counts."""
    shard.redis.config_resetstat()
    shard.enqueue(message("new", "new"))
    leases = shard.claim(1).leases
    shard.settle(settlement(leases[0], Verb.COMPLETE))
    shard.run("counts")
    stats = shard.redis.info("commandstats")
    names = {name.removeprefix("cmdstat_"): used["calls"] for name, used in stats.items()}
    return {name: calls for name, calls in names.items() if name not in {"eval", "info", "config|resetstat"}}


@pytest.mark.parametrize("backlog", [one_group, blocked_groups, limited_groups, ready_groups])
def test_a_backlog_costs_a_message_nothing(lone_shard: Shard, backlog: Callable[[Shard, int], None]) -> None:
    shard = lone_shard
    backlog(shard, 50)
    beside_few = commands(shard)
    shard.redis.delete(*shard.redis.scan_iter(shard.prefix + "*"), f"{shard.limits}:log:slow")
    backlog(shard, 5000)
    beside_many = commands(shard)
    assert not beside_many.keys() & LONG
    assert sum(beside_many.values()) <= sum(beside_few.values()) + 3

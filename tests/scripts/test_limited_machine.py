"""Whatever is done in whatever order while limits come and go, a check finds nothing after each step; and once all
limits are lifted everything runs, each group in its order."""

import json
import secrets
from typing import Any

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lockstep.fsck import Fsck
from lockstep.keys import ShardKeys
from lockstep.records import Lease
from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, calls_of, message, settlement

ACTORS = ("act", "other")
GROUPS = ("a", "b", "c", "d", None)

#: Values of limits that refuse often; None: no such limit.
LIMITS = {
    "run:rate:act": ("1/3600000/1/fleet", "2/3600000/2/group", "1/3600000/1/process", None),
    "run:rate:q": ("3/3600000/3/fleet", "2/3600000/2/process", None),
    "run:rate:shared": ("1/3600000/1/fleet", "off", None),
    "run:concurrency:act": ("1", "2", None),
    "run:concurrency:q": ("2", None),
    "paused:act": ("1", None),
    "paused:other": ("1", None),
}

actors, groups, picks = st.sampled_from(ACTORS), st.sampled_from(GROUPS), st.integers(0, 100)
changes = st.sampled_from([(field, value) for field, values in LIMITS.items() for value in values])


class Machine(RuleBasedStateMachine):
    """Drives the scripts; what is right is what the check says, and that everything drains."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__()
        self.shard = Shard(client, ShardKeys(f"t{secrets.token_hex(6)}", "q", 0))
        self.calls = calls_of(self.shard)
        self.calls.command("SADD", self.calls.global_key("queues"), "q")
        self.fsck = Fsck(self.calls)
        self.held: list[Lease] = []
        self.accepted = 0
        self.shard.redis.hset(self.shard.limits, "code:names:other", "shared")

    def teardown(self) -> None:
        try:
            self._drain()
        finally:
            self.calls.close()
            for key in self.shard.redis.scan_iter(f"{{{self.shard.keys.namespace}*"):
                self.shard.redis.delete(key)

    @rule(change=changes)
    def limits_change(self, change: tuple[str, str | None]) -> None:
        field, value = change
        if value is None:
            self.shard.redis.hdel(self.shard.limits, field)
        else:
            self.shard.redis.hset(self.shard.limits, field, value)
        self.shard.redis.hincrby(self.shard.limits, "revision", 1)

    @rule()
    def starts_are_forgotten(self) -> None:
        for key in self.shard.redis.scan_iter(f"{{{self.shard.keys.namespace}}}:limits:log:*"):
            self.shard.redis.delete(key)

    @rule()
    def lanes_are_looked_at(self) -> None:
        self.shard.run("relook")

    @rule(
        members=st.lists(
            st.tuples(
                actors,
                groups,
                st.sampled_from([0, 0, 0, HOUR]),
                st.sampled_from([None, 0, 3, 9]),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        ),
        holds_place=st.booleans(),
        blocks=st.booleans(),
    )
    def enqueue(self, members: list[tuple[Any, ...]], holds_place: bool, blocks: bool) -> None:
        batch = []
        for actor, group, delay, priority, keyed in members:
            self.accepted += 1
            extra: dict[str, object] = {"limit": "key"} if keyed else {}
            if priority is not None:
                extra["priority"] = priority
            if holds_place and delay:
                extra["hold_place"] = True
            one = message(str(self.accepted), group, delay=delay, blocks=blocks, **extra)
            one[2] = actor
            batch.append(one)
        self.shard.enqueue(*batch)

    @rule(number=st.integers(1, 3), slots=st.integers(1, 2))
    def enqueue_of_a_group_of_several(self, number: int, slots: int) -> None:
        for _ in range(number):
            self.accepted += 1
            extra = json.dumps({"slots": slots, "group": "several"})
            self.shard.enqueue([str(self.accepted), f"m:{self.accepted}", "act", b"p", 0, "0", extra])

    @rule(wanted=st.integers(1, 4), owner=st.sampled_from(["w1", "w2"]), times=st.integers(1, 2))
    def claim(self, wanted: int, owner: str, times: int) -> None:
        for _ in range(times):
            self.held += self.shard.claim(wanted, owner=owner, nonce=secrets.token_hex(8)).leases

    @rule(
        pick=picks,
        verb=st.sampled_from(Verb),
        delay=st.sampled_from([0, 0, HOUR]),
        reason=st.sampled_from(["", "why"]),
    )
    def settle(self, pick: int, verb: Verb, delay: int, reason: str) -> None:
        if self.held:
            lease = self.held.pop(pick % len(self.held))
            self.shard.settle(settlement(lease, verb, delay_ms=delay, reason=reason))

    @rule(pick=picks)
    def start(self, pick: int) -> None:
        if self.held:
            lease = self.held[pick % len(self.held)]
            self.shard.run("start", lease.ref, lease.token)

    @rule(pick=picks, crashes=st.integers(1, 3))
    def worker_dies(self, pick: int, crashes: int) -> None:
        if self.held:
            lease = self.held.pop(pick % len(self.held))
            if self.shard.redis.zscore(self.shard.key("expiries"), lease.ref) is not None:
                self.shard.expire(lease.ref)
            self.shard.reap(crashes=crashes)

    @rule(
        pick=picks,
        name=st.sampled_from(["cancel", "promote", "skip", "redrive", "discard"]),
        to_head=st.booleans(),
    )
    def operator_changes_a_message(self, pick: int, name: str, to_head: bool) -> None:
        id_ = str(pick % (self.accepted + 1))
        match name:
            case "cancel":
                self.shard.run("cancel", id_)
            case "promote":
                self.shard.run("promote", "operator", self.shard.number(), id_, 1)
            case "skip":
                self.shard.skip("abcd"[pick % 4])
            case "redrive":
                self.shard.redrive(*([id_] if pick % 2 else []), order="head" if to_head else "tail")
            case "discard":
                self.shard.discard(id_)

    @rule(group=st.sampled_from(["", "g:a", "g:b"]), resumes=st.booleans())
    def switches(self, group: str, resumes: bool) -> None:
        self.shard.run("resume" if resumes else "pause", group)

    @rule(due=st.booleans())
    def time_passes(self, due: bool) -> None:
        if due:
            self._let_all_be_due()
        self.shard.reap()

    @rule(place=st.sampled_from(["scheduled", "ready", "refs"]), group=st.sampled_from(["", "a"]))
    def purge(self, place: str, group: str) -> None:
        refs = [
            *self.shard.redis.hkeys(self.shard.key("limited"))[:2],
            *self.shard.redis.smembers(self.shard.key("halted")),
            *self.shard.redis.zrange(self.shard.key("blocked"), 0, 1),
        ]
        if place != "refs":
            self.shard.run("purge", "", 2, group, place, 0, 10)
        elif refs:
            self.shard.run("purge", "", 2, group, "refs", *refs)

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.fsck.run().found == []

    # -- the end ------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        shard = self.shard
        shard.redis.delete(shard.limits)
        shard.run("resume", "")
        for ref in shard.redis.smembers(shard.key("paused")):
            shard.run("resume", ref)
        for ref in shard.redis.zrange(shard.key("expiries"), 0, -1):
            shard.expire(ref)
        for group in "abcd":
            while shard.redis.zscore(shard.key("blocked"), f"g:{group}") == float("inf"):
                shard.skip(group)
        self._let_all_be_due()
        shard.reap(crashes=100)
        for id_ in shard.redis.hkeys(shard.key("messages")):
            shard.run("promote", "operator", shard.number(), id_, 1)  # no place is held any more
        shard.run("relook")
        state = shard.snapshot()
        ended = {*state.get("done", {}), *state.get("dead", {}), *state.get("cancelled", {})}
        unfinished = {*state.get("messages", {})} - ended
        lists = {name[6:]: ids for name, ids in state.items() if name.startswith("group:")}
        ran: list[str] = []
        order: dict[str, list[str]] = {}
        while leases := shard.claim(10).leases:
            for lease in leases:
                ran.append(lease.id)
                order.setdefault(lease.ref, []).append(lease.id)
            shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in leases))
            assert self.fsck.run().found == []
        assert sorted(ran) == sorted(unfinished)
        assert {ref: order[ref] for ref in lists} == lists
        assert not shard.redis.exists(f"{shard.limits}:running")

    def _let_all_be_due(self) -> None:
        for name in ("blocked", "scheduled"):
            key = self.shard.key(name)
            for member in self.shard.redis.zrangebyscore(key, "-inf", "(inf"):
                self.shard.redis.zadd(key, {member: 1})


def test_nothing_is_wrong_whatever_limits_do(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url, protocol=2)
    modest = settings(
        max_examples=20,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a smaller example takes minutes to find: the steps of the first are enough
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(lambda: Machine(client), settings=modest)  # type: ignore[arg-type]
    client.close()

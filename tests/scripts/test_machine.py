"""Whatever is done in whatever order, the scripts and a plain model of them agree after each step."""

import secrets
from typing import TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lockstep import replies
from lockstep.fsck import Fsck
from lockstep.keys import ShardKeys
from lockstep.records import Claim, Lease, Settlement
from lockstep.states import MessageState, Verb
from tests.scripts.model import KEEP_DONE, MAX_CRASHES, Model
from tests.scripts.shard import HOUR, Shard, calls_of, message, settlement

FSCK_EVERY = 4

groups = st.sampled_from(["a", "b", None])
picks = st.integers(0, 100)

T = TypeVar("T")


class Machine(RuleBasedStateMachine):
    """Drives the real scripts and the model in step."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__()
        self.shard = Shard(client, ShardKeys(f"t{secrets.token_hex(6)}", "q", 0))
        self.fsck = Fsck(calls_of(self.shard))
        self.model = Model()
        self.held: dict[str, Lease] = {}
        self.ended: list[Lease] = []
        self.cancelling: set[str] = set()
        self.accepted = 0
        self.looks = 0
        self.last_fence = 0
        self.last_claim: tuple[str, str, Claim] | None = None
        self.last_settle: tuple[str, Settlement, list[int]] | None = None

    def teardown(self) -> None:
        keys = list(self.shard.redis.scan_iter(self.shard.prefix + "*"))
        if keys:
            self.shard.redis.delete(*keys)

    # -- steps --------------------------------------------------------------------------------------------------

    @rule(members=st.lists(st.tuples(groups, st.booleans(), st.booleans()), min_size=1, max_size=4))
    def enqueue(self, members: list[tuple[str | None, bool, bool]]) -> None:
        batch, expected = [], []
        for group, delayed, blocks in members:
            self.accepted += 1
            one = message(str(self.accepted), group, delay=HOUR if delayed else 0, blocks=blocks)
            self.model.enqueue(one[0], one[1], delayed=delayed, blocks=blocks)
            modelled = self.model.messages[one[0]]
            expected.append((0, modelled.sequence, "scheduled" if delayed else "waiting"))
            batch.append(one)
        assert self.shard.enqueue(*batch) == expected

    @precondition(lambda self: self.model.messages)
    @rule(pick=picks, group=groups)
    def enqueue_again(self, pick: int, group: str | None) -> None:
        id_ = _pick(sorted(self.model.messages), pick)
        expected = (1, self.model.messages[id_].sequence, self.model.state(id_).value)
        assert self.shard.enqueue(message(id_, group)) == [expected]

    @rule(wanted=st.integers(1, 3))
    def claim(self, wanted: int) -> None:
        number, nonce = self.shard.number(), secrets.token_hex(8)
        claim = self.shard.claim(wanted, number=number, nonce=nonce)
        assert [lease.id for lease in claim.leases] == self.model.claim(wanted)
        assert claim.more == (bool(self.model.ready) and not self.model.all_paused)
        for lease in claim.leases:
            modelled = self.model.messages[lease.id]
            told = (lease.sequence, lease.failures, lease.crashes)
            assert told == (modelled.sequence, modelled.failures, modelled.crashes)
            assert lease.fence > self.last_fence
            self.last_fence = lease.fence
            self.held[lease.ref] = lease
        if claim.leases:
            self.last_claim = number, nonce, claim

    @precondition(lambda self: self.last_claim)
    @rule()
    def claim_resent(self) -> None:
        assert self.last_claim is not None
        number, nonce, first = self.last_claim
        before = self.shard.snapshot()
        again = self.shard.claim(len(first.leases), number=number, nonce=nonce)
        assert again.leases == [lease for lease in first.leases if self.held.get(lease.ref) == lease]
        assert self.shard.changes(before) == {}

    @precondition(lambda self: self.held)
    @rule(pick=picks, delayed=st.booleans(), verb=st.sampled_from(Verb))
    def settle(self, pick: int, delayed: bool, verb: Verb) -> None:
        lease = self._end(pick)
        number, delay = self.shard.number(), HOUR if delayed else 0
        one = settlement(lease, verb, delay_ms=delay, reason="why")
        instead = lease.ref in self.cancelling and verb not in (Verb.COMPLETE, Verb.CANCEL)
        answer = [2 if instead else 1]
        assert self.shard.settle(one, number=number, keep=KEEP_DONE) == answer
        self.last_settle = number, one, answer
        self.cancelling.discard(lease.ref)
        match Verb.CANCEL if instead else verb:
            case Verb.COMPLETE:
                self.model.complete(lease.ref)
            case Verb.RETRY:
                self.model.retry(lease.ref, delayed=delayed)
            case Verb.RELEASE:
                self.model.release(lease.ref, delayed=delayed)
            case Verb.DEAD_LETTER:
                self.model.bury(lease.ref)
            case Verb.CANCEL:
                self.model.cancel(lease.ref)

    @precondition(lambda self: self.last_settle)
    @rule()
    def settle_resent(self) -> None:
        assert self.last_settle is not None
        number, one, answer = self.last_settle
        before = self.shard.snapshot()
        assert self.shard.settle(one, number=number, keep=KEEP_DONE) == answer
        assert self.shard.changes(before) == {}

    @precondition(lambda self: self.ended)
    @rule(pick=picks, verb=st.sampled_from(Verb))
    def settle_stale(self, pick: int, verb: Verb) -> None:
        before = self.shard.snapshot()
        stale = settlement(_pick(self.ended, pick), verb, delay_ms=HOUR)
        assert self.shard.settle(stale, keep=KEEP_DONE) == [0]
        assert self.shard.changes(before) == {}
        self.last_settle = None

    @precondition(lambda self: self.held)
    @rule(pick=picks, started=st.booleans())
    def worker_dies(self, pick: int, started: bool) -> None:
        lease = self._end(pick)
        if started:
            assert self.shard.run("start", lease.ref, lease.token) == 1
        self.shard.expire(lease.ref)
        reaped = self.shard.reap(crashes=MAX_CRASHES)
        if lease.ref in self.cancelling:
            self.cancelling.remove(lease.ref)
            self.model.cancel(lease.ref)
            assert (reaped.retried, reaped.dead, reaped.cancelled) == ([], [], [lease.id])
            return
        self.model.crash(lease.ref, started=started)
        dead = lease.id in self.model.dead
        assert (reaped.retried, reaped.dead) == (([], [lease.id]) if dead else ([lease.id], []))

    @precondition(lambda self: self.model.ready and not self.model.all_paused)
    @rule(wanted=st.integers(1, 3), heads=st.integers(1, 2))
    def heads_die(self, wanted: int, heads: int) -> None:
        for _ in range(heads):
            before = set(self.held)
            self.claim(wanted)
            for ref in sorted(set(self.held) - before):
                lease = self.held.pop(ref)
                self.ended.append(lease)
                assert self.shard.settle(settlement(lease, Verb.DEAD_LETTER, reason="why")) == [1]
                self.model.bury(ref)
                self.last_settle = None  # it is not the last call of its session any more

    @precondition(lambda self: self.model.dead)
    @rule(picked=st.lists(picks, min_size=1, max_size=4), to_head=st.booleans(), named=st.booleans())
    def redrive(self, picked: list[int], to_head: bool, named: bool) -> None:
        ids = [_pick(sorted(self.model.messages), pick) for pick in picked] if named else []
        expected = self.model.redrive(ids or list(self.model.dead), to_head=to_head)
        number, order = self.shard.number(), "head" if to_head else "tail"
        assert self.shard.redrive(*ids, order=order, number=number)[2] == expected
        before = self.shard.snapshot()
        assert self.shard.redrive(*ids, order=order, number=number)[2] == expected
        assert self.shard.changes(before) == {}

    @precondition(lambda self: self.model.dead)
    @rule(picked=st.lists(picks, min_size=1, max_size=2))
    def discard(self, picked: list[int]) -> None:
        ids = [_pick(sorted(self.model.messages), pick) for pick in picked]
        assert self.shard.discard(*ids) == self.model.discard(ids)

    @rule(group=st.sampled_from(["a", "b"]))
    def skip(self, group: str) -> None:
        ref = f"g:{group}"
        if ref in self.model.leased:
            expected = ("running", self.model.leased[ref])
        elif ref in self.model.groups:
            expected = ("skipped", self.model.skip(ref))
        else:
            expected = ("none", "")
        assert self.shard.skip(group) == expected

    @precondition(lambda self: self.model.in_backoff() or self.model.scheduled)
    @rule(pick=picks, by_claim=st.booleans())
    def falls_due(self, pick: int, by_claim: bool) -> None:
        refs, ids = self.model.in_backoff(), self.model.scheduled
        refs, ids = refs[pick % (len(refs) + 1) :][:1], ids[pick % (len(ids) + 1) :][:1]
        members = [text for text in self.shard.snapshot().get("scheduled", {}) if text[16:] in ids]
        for name, due in (("blocked", refs), ("scheduled", members)):
            if due:
                self.shard.redis.zadd(self.shard.key(name), dict.fromkeys(due, 1), xx=True)
        self.model.fall_due(refs=refs, ids=ids)
        if by_claim and not self.model.all_paused:  # else the reaper does it
            self.claim(1)
        else:
            assert self.shard.reap().due == len(refs) + len(ids)

    @precondition(lambda self: self.model.messages)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        id_ = _pick(sorted(self.model.messages), pick)
        state = self.model.state(id_)
        before = self.shard.snapshot()
        assert self.shard.run("cancel", id_) == [state.value.encode(), b"act"]
        if state in (MessageState.SCHEDULED, MessageState.WAITING, MessageState.BACKOFF):
            self.model.take_back(id_)
        elif state is MessageState.RUNNING:
            self.cancelling.add(self.model.messages[id_].ref)
        else:
            assert self.shard.changes(before) == {}

    @precondition(lambda self: self.model.messages)
    @rule(pick=picks)
    def promote(self, pick: int) -> None:
        id_ = _pick(sorted(self.model.messages), pick)
        state, number = self.model.state(id_), self.shard.number()
        before = self.shard.snapshot()
        changes = state in (MessageState.SCHEDULED, MessageState.BACKOFF)
        for _ in range(2):  # resent
            reply = self.shard.run("promote", "operator", number, id_, 1)
            assert reply == [state.value.encode(), b"act", int(changes)]
        if changes:
            self.model.promote(id_)
        else:
            assert self.shard.changes(before) == {}

    @rule(batch=st.integers(1, 3))
    def purge(self, batch: int) -> None:
        purged, again = 0, True
        while again:
            again = False
            state = self.shard.snapshot()
            refs = {*state.get("leases", {}), *state.get("blocked", {}), *state.get("halted", [])}
            places = [("scheduled", 0, 10), *(("refs", ref) for ref in sorted(refs))]
            for place in [("ready", 0, len(state.get("ready", []))), *places]:
                number = self.shard.run("purge", "", batch, "", *place)[1]
                purged, again = purged + number, again or number > 0
        assert purged == self.model.purge()

    @precondition(lambda self: self.model.messages)
    @rule(pick=picks, resumes=st.booleans())
    def switches_group(self, pick: int, resumes: bool) -> None:
        listed = {message.ref for message in self.model.messages.values() if message.ref.startswith("g:")}
        ref = _pick(sorted(listed | {"g:unheard of"}), pick)
        name, modelled = ("resume", self.model.resume) if resumes else ("pause", self.model.pause)
        assert self.shard.run(name, ref) == modelled(ref)

    @rule(resumes=st.booleans())
    def switches_all(self, resumes: bool) -> None:
        changes = self.model.all_paused == resumes
        assert self.shard.run("resume" if resumes else "pause", "") == changes
        self.model.all_paused = not resumes

    # -- what must hold after each ------------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        state, model = self.shard.snapshot(), self.model
        lists = {name[6:]: ids for name, ids in state.items() if name.startswith("group:")}
        assert lists == {ref: ids for ref, ids in model.groups.items() if ref.startswith("g:")}
        assert state.get("ready", []) == model.ready
        assert state.get("leases", {}).keys() == state.get("expiries", {}).keys() == model.leased.keys()
        assert state.get("blocked", {}).keys() == model.blocked
        assert state.get("dead", {}).keys() == state.get("dead_order", {}).keys() == model.dead
        of_kinds = [id_ for name, ids in state.items() if name.startswith("kind:") for id_ in ids]
        assert sorted(of_kinds) == sorted(model.dead)
        assert {f"kind:{kind}" for kind in state.get("kinds", {})} == {n for n in state if n[:5] == "kind:"}
        assert sum(map(int, state.get("dead_actors", {}).values())) == len(model.dead)
        assert state.get("cancelled", {}).keys() == model.cancelled
        told = [lease.token for ref, lease in self.held.items() if ref in self.cancelling]
        assert sorted(state.get("cancelling", [])) == sorted(told)
        assert state.get("done_order", []) == model.done
        assert state.get("done", {}).keys() == set(model.done)
        assert state.get("messages", {}).keys() == model.messages.keys()
        assert len(state.get("wake", [])) <= 1
        assert set(state.get("paused", [])) == model.paused
        assert set(state.get("halted", [])) == model.halted
        assert bool(state.get("wake")) or not model.ready or model.all_paused, (
            "groups are ready and nobody is woken"
        )

    @invariant()
    def tells_the_same(self) -> None:
        counts = replies.queue_counts("q", [self.shard.run("counts")])
        assert counts.messages == self.model.counts()
        assert counts.groups == self.model.group_counts()
        assert counts.paused == self.model.all_paused
        self.looks += 1
        if (
            self.looks % FSCK_EVERY == 0
        ):  # it reads everything; what one step breaks is still broken some steps later
            assert self.fsck.check_shard(self.shard.keys) == []
        for id_ in self.model.messages:
            told = self.shard.state(id_)
            assert told is not None
            assert MessageState(told) == self.model.state(id_)

    def _end(self, pick: int) -> Lease:
        lease = self.held.pop(_pick(sorted(self.held), pick))
        self.ended.append(lease)
        return lease


def _pick(choices: list[T], pick: int) -> T:
    return choices[pick % len(choices)]


def test_the_scripts_do_what_the_model_does(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url, protocol=2)
    modest = settings(
        max_examples=24,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(lambda: Machine(client), settings=modest)  # type: ignore[arg-type]
    client.close()

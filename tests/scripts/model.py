"""What the scripts mean, in plain Python: groups of ids, who is ready, who is leased, who is blocked."""

from collections import Counter
from dataclasses import dataclass, field

from lockstep.states import GroupState, MessageState

MAX_CRASHES = 2
KEEP_DONE = 2


@dataclass
class Modelled:
    """One message."""

    ref: str
    blocks: bool
    sequence: int = 0
    failures: int = 0
    crashes: int = 0
    begun: bool = False  #: an attempt was put back


@dataclass
class Model:
    """One shard."""

    messages: dict[str, Modelled] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    leased: dict[str, str] = field(default_factory=dict)  #: ref -> id
    blocked: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)  #: an operator said so
    halted: set[str] = field(default_factory=set)  #: and they would be ready
    all_paused: bool = False
    scheduled: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    sequence: int = 0

    def enqueue(self, id_: str, ref: str, *, delayed: bool, blocks: bool) -> None:
        self.sequence += 1
        self.messages[id_] = Modelled(ref, blocks)
        if delayed:
            self.scheduled.append(id_)
        else:
            self._join(id_, self.sequence)

    def claim(self, wanted: int) -> list[str]:
        if self.all_paused:
            return []
        refs: list[str] = []
        while self.ready and len(refs) < wanted:
            ref = self.ready.pop(0)
            (self.halted.add if ref in self.paused else refs.append)(ref)
        for ref in refs:
            self.leased[ref] = self.groups[ref][0]
        return [self.leased[ref] for ref in refs]

    def complete(self, ref: str) -> None:
        id_ = self.leased.pop(ref)
        self._pop(ref)
        self.done.append(id_)
        for old in self.done[:-KEEP_DONE]:
            del self.messages[old]
        self.done = self.done[-KEEP_DONE:]

    def retry(self, ref: str, *, delayed: bool) -> None:
        self.messages[self.leased[ref]].failures += 1
        self.release(ref, delayed=delayed)

    def release(self, ref: str, *, delayed: bool) -> None:
        self.messages[self.leased.pop(ref)].begun = True
        if delayed:
            self.blocked.add(ref)
        else:
            self.ready.insert(0, ref)

    def bury(self, ref: str) -> None:
        id_ = self.leased.pop(ref)
        self.dead.add(id_)
        if self.messages[id_].blocks and ref.startswith("g:"):
            self.blocked.add(ref)
        else:
            self._pop(ref)

    def cancel(self, ref: str) -> None:
        self.cancelled.add(self.leased.pop(ref))
        self._pop(ref)

    def take_back(self, id_: str) -> None:
        """Cancel one that does not run."""
        self.cancelled.add(id_)
        self._take_out(id_)

    def promote(self, id_: str) -> None:
        ref = self.messages[id_].ref
        if id_ in self.scheduled:
            self.fall_due(refs=[], ids=[id_])
        else:
            self.fall_due(refs=[ref], ids=[])

    def purge(self) -> int:
        gone = [
            id_
            for id_ in self.messages
            if self.state(id_) in (MessageState.SCHEDULED, MessageState.WAITING, MessageState.BACKOFF)
        ]
        for ref in [ref for ref, ids in self.groups.items() if set(ids) <= set(gone)]:
            del self.groups[ref]
            self.ready = [one for one in self.ready if one != ref]
            self.blocked.discard(ref)
            self.halted.discard(ref)
        for ids in self.groups.values():
            ids[:] = [id_ for id_ in ids if id_ not in gone]
        self.scheduled.clear()
        for id_ in gone:
            del self.messages[id_]
        return len(gone)

    def _take_out(self, id_: str) -> None:
        if id_ in self.scheduled:
            self.scheduled.remove(id_)
            return
        ref = self.messages[id_].ref
        group = self.groups[ref]
        head = group[0] == id_
        group.remove(id_)
        if not group:
            del self.groups[ref]
        if not head or ref in self.leased or (group and ref in self.halted):
            return
        for places in (self.blocked, self.halted):
            places.discard(ref)
        if ref in self.ready:
            self.ready.remove(ref)
        if group:
            self.ready.append(ref)

    def crash(self, ref: str, *, started: bool) -> None:
        message = self.messages[self.leased[ref]]
        if started or message.crashes < MAX_CRASHES - 1:
            message.crashes += 1
        if message.crashes == MAX_CRASHES:
            self.bury(ref)
        else:
            self.release(ref, delayed=False)

    def redrive(self, ids: list[str], *, to_head: bool) -> list[str]:
        chosen = sorted(self.dead & set(ids), key=lambda id_: self.messages[id_].sequence)
        moved: list[str] = []
        for id_ in chosen:
            message = self.messages[id_]
            self.dead.remove(id_)
            message.failures, message.crashes, message.begun = 0, 0, False
            group = self.groups.get(message.ref, [])
            if group[:1] == [id_]:
                self.blocked.remove(message.ref)
                group.pop(0)
                self._insert(id_, group)
                moved.append(message.ref)
            elif not to_head:
                self.sequence += 1
                self._join(id_, self.sequence)
            elif not group:
                self._join(id_, message.sequence)
            elif self._insert(id_, group) == 0:
                moved.append(message.ref)
        for ref in dict.fromkeys(moved):
            self._reseat(ref)
        return chosen

    def discard(self, ids: list[str]) -> list[str]:
        chosen = sorted(self.dead & set(ids), key=lambda id_: self.messages[id_].sequence)
        for id_ in chosen:
            ref = self.messages.pop(id_).ref
            self.dead.remove(id_)
            if self.groups.get(ref, [])[:1] == [id_]:
                self._take_head(ref)
        return chosen

    def skip(self, ref: str) -> str:
        id_ = self.groups[ref][0]
        self.dead.add(id_)
        self._take_head(ref)
        return id_

    def fall_due(self, *, refs: list[str], ids: list[str]) -> None:
        for ref in refs:
            self.blocked.remove(ref)
            self.ready.append(ref)
        for id_ in ids:
            self.scheduled.remove(id_)
            self.sequence += 1
            self._join(id_, self.sequence)

    def pause(self, ref: str) -> bool:
        new = ref not in self.paused
        self.paused.add(ref)
        if ref in self.ready:
            self.ready.remove(ref)
            self.halted.add(ref)
        return new

    def resume(self, ref: str) -> bool:
        if ref in self.halted:
            self.halted.remove(ref)
            self.ready.append(ref)
        was = ref in self.paused
        self.paused.discard(ref)
        return was

    def in_backoff(self) -> list[str]:
        return sorted(ref for ref in self.blocked if self.groups[ref][0] not in self.dead)

    def state(self, id_: str) -> MessageState:
        ref = self.messages[id_].ref
        for state, ids in (
            (MessageState.DONE, self.done),
            (MessageState.DEAD, self.dead),
            (MessageState.CANCELLED, self.cancelled),
            (MessageState.SCHEDULED, self.scheduled),
            (MessageState.RUNNING, self.leased.values()),
        ):
            if id_ in ids:
                return state
        return (
            MessageState.BACKOFF
            if ref in self.blocked and self.groups[ref][0] == id_
            else MessageState.WAITING
        )

    def counts(self) -> dict[MessageState, int]:
        counted = Counter(map(self.state, self.messages))
        return {state: counted[state] for state in MessageState}

    def group_counts(self) -> dict[GroupState, int]:
        return {
            GroupState.READY: len(self.ready),
            GroupState.LEASED: len(self.leased),
            GroupState.BLOCKED: len(self.blocked),
            GroupState.PAUSED: len(self.halted),
        }

    def _join(self, id_: str, sequence: int) -> None:
        message = self.messages[id_]
        message.sequence = sequence
        group = self.groups.setdefault(message.ref, [])
        group.append(id_)
        if len(group) == 1:
            self.ready.append(message.ref)

    def _insert(self, id_: str, group: list[str]) -> int:
        """Put a message at the place of its sequence, behind a head that has begun; answers the place."""
        place = 1 if group and self._has_begun(group[0]) else 0
        while place < len(group) and self.messages[group[place]].sequence < self.messages[id_].sequence:
            place += 1
        group.insert(place, id_)
        return place

    def _has_begun(self, head: str) -> bool:
        message = self.messages[head]
        return (
            message.ref in self.leased
            or message.ref in self.blocked
            or bool(message.failures or message.crashes or message.begun)
        )

    def _take_head(self, ref: str) -> None:
        self.groups[ref].pop(0)
        self._reseat(ref)

    def _reseat(self, ref: str) -> None:
        self.blocked.discard(ref)
        if not self.groups[ref]:
            del self.groups[ref]
            self.halted.discard(ref)
        elif ref in self.halted:
            return
        self.ready = [one for one in self.ready if one != ref]
        if ref in self.groups:
            self.ready.append(ref)

    def _pop(self, ref: str) -> None:
        self.groups[ref].pop(0)
        if self.groups[ref]:
            self.ready.append(ref)
        else:
            del self.groups[ref]

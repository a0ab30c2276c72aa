"""Groups as they are now: one of them, or pages of a queue's.

A page is a look at a moment: a group that changes its state while somebody turns pages may be seen twice or not at all.
"""

from dataclasses import dataclass
from typing import Any, Final

from lockstep import clean
from lockstep.calls import Calls
from lockstep.errors import InvalidMessage, NotFound
from lockstep.keys import ShardKeys
from lockstep.states import GroupState
from lockstep.survey import GroupOrder, Survey

#: Groups of one page, at most.
MAX_PAGE: Final = 200

#: Calls that one page may take: a page may be shorter than asked for, and have a next one.
_LOOKS: Final = 50

#: Where groups are, in the order of the pages: state, key, and the command that looks through it.
_PLACES: Final = (
    (GroupState.LEASED, "leases", "HSCAN"),
    *((GroupState.READY, f"ready:{level}" if level else "ready", "LRANGE") for level in range(10)),
    (GroupState.BLOCKED, "blocked", "ZRANGE"),
    (GroupState.BLOCKED, "limited", "HSCAN"),
    (GroupState.PAUSED, "halted", "SSCAN"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """One group; a message without a group is one of its own."""

    queue: str
    group: str | None  #: None: its head is a message without a group, or of one in which several run at once
    state: GroupState | None  #: None: it has no messages
    depth: int  #: messages that have not ended
    head: str | None  #: id of the first of them
    enqueued_ms: int | None  #: when that was accepted
    holder: str | None  #: who runs it
    fence: int | None
    lease_ends_ms: int | None
    blocked_until_ms: int | None  #: None: for as long as it takes
    why: str | None  #: why it does not go on
    limit: str | None  #: name of the limit that it waits for
    paused: bool  #: an operator stopped it


@dataclass(frozen=True, slots=True)
class GroupPage:
    """Some groups, and where the others begin."""

    items: list[GroupRecord]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where a page begins: shard, place, position in it, and how many of what is found there were shown."""

    shard: int = 0
    place: int = 0
    position: int = 0
    shown: int = 0

    @classmethod
    def parse(cls, text: str) -> "_Cursor":
        numbers = text.split(".")
        if len(numbers) != 4 or not all(number.isascii() and number.isdigit() for number in numbers):  # noqa: PLR2004
            raise InvalidMessage("/cursor", "expected one from an earlier page")
        return cls(*map(int, numbers))

    def __str__(self) -> str:
        return f"{self.shard}.{self.place}.{self.position}.{self.shown}"


class Groups:
    """Reads groups."""

    def __init__(self, calls: Calls, survey: Survey) -> None:
        self._calls = calls
        self._survey = survey

    def show(self, queue_name: str, group: str) -> GroupRecord:
        """One group.

        Raises:
          NotFound: there is no such queue; or the group has no messages, and nobody paused it.
        """
        self._calls.check_queue(queue_name)
        shard = self._calls.shard_of(queue_name, group, "")
        (record,) = self._describe(shard, [f"g:{group}".encode()])
        if record.state is None and not record.paused:
            raise NotFound("group", group)
        return record

    def depth(self, queue_name: str, group: str) -> int:
        """Messages of a group that have not ended; 0 when there is no such group.

        Raises:
          NotFound: there is no such queue.
        """
        self._calls.check_queue(queue_name)
        shard = self._calls.shard_of(queue_name, group, "")
        return self._describe(shard, [f"g:{group}".encode()])[0].depth

    def page(
        self, queue_name: str, state: GroupState | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> GroupPage:
        """Groups of a queue that have messages, at most ``limit``, of one state or of all.

        Raises:
          NotFound: there is no such queue.
          InvalidMessage: the cursor is none.
        """
        self._calls.check_queue(queue_name)
        at: _Cursor | None = _Cursor.parse(cursor) if cursor else _Cursor()
        shards = self._calls.shards(queue_name)
        items: list[GroupRecord] = []
        for _ in range(_LOOKS):
            if at is None or len(items) >= limit:
                break
            at = self._skip(at, state, len(shards))
            if at is not None:
                shard, expected = shards[at.shard], _PLACES[at.place][0]
                refs, at = self._look(shard, at, limit - len(items))
                found = self._describe(shard, refs) if refs else []
                items += [record for record in found if record.state is expected]
        if at is not None:
            at = self._skip(at, state, len(shards))
        return GroupPage(items, None if at is None else str(at))

    def ranked(self, queue_name: str, order: GroupOrder, limit: int = 50) -> tuple[list[GroupRecord], bool]:
        """The deepest or the oldest groups of a queue, at most ``KEPT``, and whether all groups were looked at.

        If not, they are the most extreme ones that the search (``lockstep.survey``) has found so far.

        Raises:
          NotFound: there is no such queue.
        """
        ranking = self._survey.ranking(queue_name, limit)
        by_shard: dict[ShardKeys, list[str]] = {}
        for mark in ranking.by(order):
            by_shard.setdefault(mark.shard, []).append(mark.ref)
        described = {
            (shard, reply[0].decode()): _record(queue_name, reply)
            for shard, refs in by_shard.items()
            for reply in self._calls.run("group", shard, refs)
        }
        records = [described[mark.shard, mark.ref] for mark in ranking.by(order)]
        return [record for record in records if record.state is not None], ranking.exact

    def stuck(self, queue_name: str, most: int) -> list[GroupRecord]:
        """Some groups whose messages wait for an operator: paused, behind a dead letter, of an actor that is paused."""
        found: list[GroupRecord] = []
        for shard in self._calls.shards(queue_name):
            dead = self._calls.command(
                "ZRANGEBYSCORE", shard.prefix + "blocked", "+inf", "+inf", "LIMIT", 0, MAX_PAGE
            )
            halted = self._calls.command("SRANDMEMBER", shard.prefix + "halted", MAX_PAGE)
            _, limited = self._calls.command("HSCAN", shard.prefix + "limited", 0, "COUNT", MAX_PAGE)
            for record in self._describe(shard, [*dead, *halted, *limited[: 2 * MAX_PAGE : 2]]):
                behind = record.why == "dead_letter" and record.depth > 1
                if behind or record.why in ("paused", "actor_paused"):
                    found.append(record)
        return found[:most]

    def _skip(self, at: _Cursor, state: GroupState | None, shards: int) -> _Cursor | None:
        """The first place from ``at`` on that holds groups of the state."""
        while at.shard < shards:
            if at.place >= len(_PLACES):
                at = _Cursor(at.shard + 1)
            elif state is not None and _PLACES[at.place][0] is not state:
                at = _Cursor(at.shard, at.place + 1)
            else:
                return at
        return None

    def _look(self, shard: ShardKeys, at: _Cursor, limit: int) -> tuple[list[bytes], _Cursor]:
        """Some refs, and where to go on."""
        _, name, command = _PLACES[at.place]
        key, after = shard.prefix + name, _Cursor(at.shard, at.place + 1)
        if command in ("LRANGE", "ZRANGE"):
            refs = self._calls.command(command, key, at.position, at.position + limit - 1)
            full = len(refs) == limit
            return refs, _Cursor(at.shard, at.place, at.position + limit) if full else after
        position, found = self._calls.command(command, key, at.position, "COUNT", limit)
        refs = (found[::2] if command == "HSCAN" else found)[at.shown :]
        if len(refs) > limit:
            return refs[:limit], _Cursor(at.shard, at.place, at.position, at.shown + limit)
        return refs, after if position == b"0" else _Cursor(at.shard, at.place, int(position))

    def _describe(self, shard: ShardKeys, refs: list[bytes]) -> list[GroupRecord]:
        return [_record(shard.queue, reply) for reply in self._calls.run("group", shard, refs)]


def _record(queue: str, reply: list[Any]) -> GroupRecord:
    ref, state, depth, head, enqueued, holder, fence, ends, until, why, limit, paused = reply
    return GroupRecord(
        queue=queue,
        group=ref[2:].decode() if ref.startswith(b"g:") else None,
        state=GroupState(state.decode()) if state else None,
        depth=depth,
        head=head.decode() or None,
        enqueued_ms=enqueued or None,
        holder=clean.text(holder) or None,
        fence=int(fence) if fence else None,
        lease_ends_ms=int(float(ends)) if ends else None,
        blocked_until_ms=int(float(until)) if until else None,
        why=clean.text(why) or None,
        limit=clean.text(limit) or None,
        paused=paused == 1,
    )

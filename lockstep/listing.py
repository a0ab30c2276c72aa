"""Lists of messages, filtered, a page at a time: each page does a bounded amount of work.

A filter is applied to what its place holds, so a page may have fewer items than asked for, even none, and still have a
next one. What does not move while somebody turns the pages is listed; what moves may be listed twice.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lockstep import places
from lockstep.calls import Calls
from lockstep.errors import InvalidMessage
from lockstep.keys import ShardKeys
from lockstep.places import Item, Look, Position
from lockstep.states import MessageState

#: Messages of one page, at most.
MAX_PAGE: Final = 200

#: Steps of one page, and what each looks at, about.
_STEPS: Final = 20
_STEP: Final = 200

_UNFINISHED: Final = frozenset({MessageState.WAITING, MessageState.RUNNING, MessageState.BACKOFF})

#: Where messages of a state are, if no group is asked for.
_PLACES: Final = {
    MessageState.SCHEDULED: ("scheduled",),
    MessageState.WAITING: ("messages",),
    MessageState.RUNNING: ("leases",),
    MessageState.BACKOFF: ("blocked",),
    MessageState.DONE: ("done",),
    MessageState.DEAD: ("dead",),
    MessageState.CANCELLED: ("cancelled",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which messages are meant; what is None does not matter."""

    state: MessageState | None = None
    queue: str | None = None
    group: str | None = None
    actor: str | None = None
    error: str | None = None  #: class of the last error, or reason of a dead letter
    id: str | None = None
    words: tuple[str, ...] = ()  #: all of them are in the payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One message in short."""

    id: str
    queue: str
    state: MessageState
    actor: str
    group: str | None
    sequence: int | None
    enqueued_ms: int
    due_ms: int | None
    failures: int
    crashes: int
    error: str | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, and where the others begin."""

    items: list[Listed]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _At:
    """Where a page begins: queue, shard, place and position in it."""

    queue: str
    shard: int
    place: str
    position: Position

    def __str__(self) -> str:
        told = json.dumps([self.queue, self.shard, self.place, self.position], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "_At":
        try:
            padded = text + "=" * (-len(text) % 4)
            queue, shard, place, position = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
            if not (isinstance(queue, str) and type(shard) is int and isinstance(place, str)):
                raise TypeError
            return cls(queue, shard, place, list(position))
        except (ValueError, TypeError, RecursionError, binascii.Error):
            raise InvalidMessage("/cursor", "expected one from an earlier page") from None


class Listing:
    """Reads lists of messages."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def page(self, wanted: Wanted, *, cursor: str | None = None, limit: int = 50) -> MessagePage:
        """Messages that match, at most ``limit``, from ``cursor`` on.

        Raises:
          NotFound: there is no such queue.
          InvalidMessage: the cursor is none of this list; or words are asked for and SEARCH_INDEX is off.
        """
        if wanted.words and not self._calls.settings.search_index:
            raise InvalidMessage(
                "/q", "words are not indexed: set SEARCH_INDEX=true, for messages sent after it"
            )
        if wanted.queue is not None:
            self._calls.check_queue(wanted.queue)
        items: list[Listed] = []
        steps = 0
        at = _At.parse(cursor) if cursor is not None else None
        if at is not None and at.place not in _places(wanted):
            raise InvalidMessage("/cursor", "expected one from an earlier page of the same list")
        for shard, place in self._from(wanted, at):
            position: Position | None = at.position if at is not None and _is_at(at, shard, place) else []
            while position is not None:
                if len(items) >= limit or steps >= _STEPS:
                    return MessagePage(items, str(_At(shard.queue, shard.shard, place, position)))
                steps += 1
                found, position = self._step(wanted, shard, place, position, limit - len(items))
                items += found
        return MessagePage(items, None)

    def each(self, wanted: Wanted, limit: int) -> Iterator[Listed]:
        """Messages that match, at most ``limit``, over as many pages as it takes."""
        cursor: str | None = None
        while limit > 0:
            page = self.page(wanted, cursor=cursor, limit=min(limit, MAX_PAGE))
            yield from page.items
            limit, cursor = limit - len(page.items), page.next_cursor
            if cursor is None:
                return

    def read(
        self, shard: ShardKeys, names: list[str], *, refs: bool = False, payload: bool = False
    ) -> list[Listed | None]:
        """Many messages of a shard by id, or the heads of groups by ref; None for one that is not there."""
        arguments = ["1" if payload else "0", "refs" if refs else "ids", *names]
        return [
            None if reply is None else _listed(shard.queue, reply)
            for reply in self._calls.run("rows", shard, arguments)
        ]

    # -- where to look ------------------------------------------------------------------------------------------

    def _from(self, wanted: Wanted, at: _At | None) -> Iterator[tuple[ShardKeys, str]]:
        """Each place to look at, from a cursor on; a queue that went away meanwhile is passed over."""
        reached = at is None
        for queue in self._calls.queues() if wanted.queue is None else [wanted.queue]:
            if at is not None and not reached and queue < at.queue:
                continue
            for shard in self._shards(wanted, queue):
                for place in _places(wanted):
                    reached = reached or at is None or queue > at.queue or _is_at(at, shard, place)
                    if reached:
                        yield shard, place

    def _shards(self, wanted: Wanted, queue: str) -> list[ShardKeys]:
        if wanted.group is not None:
            return [self._calls.shard_of(queue, wanted.group, "")]
        return self._calls.shards(queue)

    def _step(
        self, wanted: Wanted, shard: ShardKeys, place: str, position: Position, limit: int
    ) -> tuple[list[Listed], Position | None]:
        """What matches of the next few, and the position after them."""
        found = self._look(wanted, shard, place, position)
        if not found:
            return [], None
        names = [one.name[16:] if place == "scheduled" else one.name for one in found]
        rows = self.read(shard, names, refs=place in ("leases", "blocked"))
        items: list[Listed] = []
        for item, row in zip(found, rows, strict=True):
            if row is not None and _matches(wanted, place, row):
                items.append(row)
                if len(items) == limit:
                    return items, item.after
        return items, found[-1].after

    def _look(self, wanted: Wanted, shard: ShardKeys, place: str, position: Position) -> list[Item]:
        look = Look(self._calls, shard, position, _STEP)
        listed = f"group:g:{wanted.group}"
        try:
            match place:
                case "id":
                    found = [Item(wanted.id or "", None)]
                case "words":
                    found = places.of_words(look, wanted.words)
                case "group":
                    found = places.of_list(look, listed)
                case "ungrouped":  # of a group in which several run at once, each stands for itself
                    has_list = self._calls.command("EXISTS", look.key(listed))
                    found = [] if has_list else places.of_hash(look, "messages")
                case "done":
                    found = places.newest_of_list(look, "done_order")
                case "dead" | "cancelled":
                    found = places.by_time(look, place, newest=True)
                case "scheduled" | "blocked":
                    found = places.by_time(look, place, newest=False)
                case _:
                    found = places.of_hash(look, place)
        except (TypeError, ValueError):
            raise InvalidMessage("/cursor", "expected one from an earlier page") from None
        return found


def _is_at(at: _At, shard: ShardKeys, place: str) -> bool:
    return (at.queue, at.shard, at.place) == (shard.queue, shard.shard, place)


def _places(wanted: Wanted) -> tuple[str, ...]:
    if wanted.id is not None:
        return ("id",)
    if wanted.words:
        return ("words",)
    if wanted.group is None:
        return _PLACES[wanted.state] if wanted.state else ("messages",)
    if wanted.state in _UNFINISHED:
        return ("group", "ungrouped")
    if wanted.state is not None:
        return _PLACES[wanted.state]
    return ("group", "scheduled", "done", "dead", "cancelled", "ungrouped")


def _matches(wanted: Wanted, place: str, row: Listed) -> bool:
    if place == "group" and row.state is MessageState.DEAD and wanted.state is None:
        return False  # it blocks its group, and is listed with the dead ones
    if place == "ungrouped" and row.state not in _UNFINISHED:
        return False  # listed before
    return (
        (wanted.state is None or row.state is wanted.state)
        and (wanted.group is None or row.group == wanted.group)
        and (wanted.actor is None or row.actor == wanted.actor)
        and (wanted.error is None or row.error == wanted.error)
    )


def _listed(queue: str, reply: list[Any]) -> Listed:
    id_, state, ref, actor, sequence, enqueued, failures, crashes, reason, due, error, payload = reply
    return Listed(
        id=id_.decode(),
        queue=queue,
        state=MessageState(state.decode()),
        actor=actor.decode(),
        group=ref[2:].decode() if ref.startswith(b"g:") else None,
        sequence=sequence or None,
        enqueued_ms=enqueued,
        due_ms=int(float(due)) if due and due != b"inf" else None,
        failures=failures,
        crashes=crashes,
        error=_class(error) or reason.decode() or None,
        payload=payload,
    )


def _class(error: bytes) -> str | None:
    try:
        decoded = orjson.loads(error) if error else None
    except ValueError:
        return None
    return str(decoded.get("type")) if isinstance(decoded, dict) and decoded.get("type") else None

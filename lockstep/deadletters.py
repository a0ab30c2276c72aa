"""Dead letters as operators see them: listed, counted by kind, redriven, discarded; and the head of a group skipped.

Each call does a bounded piece of work and says where to go on: whoever asks may stop, die or repeat at any time.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from lockstep.calls import Calls
from lockstep.cursors import decode_cursor, encode_cursor
from lockstep.errors import GroupEmpty, WrongState
from lockstep.keys import ShardKeys

#: Dead letters that one script changes, and so many ids may be named in one call.
BATCH: Final = 500

#: Dead letters that one page looks at, over all shards, about.
PAGE_LOOK: Final = 2000
_LEAST_LOOK: Final = 50

#: To which end of its group a dead letter goes back.
Order = Literal["tail", "head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters are meant: those that have all that is given; nothing given means all."""

    queue: str | None = None
    actor: str | None = None
    group: str | None = None
    error: str | None = None  #: class of the error; why it died, when there was none
    fingerprint: str | None = None
    text: str | None = None  #: in the error's message; A to Z count in either case
    since_ms: int | None = None  #: when it died, by the server's clock
    until_ms: int | None = None

    def encode(self) -> bytes:
        """As ``includes/matching.lua`` reads it; the queue is not in it."""
        given = {
            "actor": self.actor,
            "group": self.group,
            "error": self.error,
            "fingerprint": self.fingerprint,
            "text": self.text,
            "since": self.since_ms,
            "until": self.until_ms,
        }
        return orjson.dumps({name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter, in short; ``Store.message`` shows it whole."""

    id: str
    queue: str
    died_ms: int
    actor: str
    group: str | None
    sequence: int | None
    enqueued_ms: int
    reason: str
    failures: int
    crashes: int
    redriven: int  #: how often it was redriven before
    error: str  #: class of the error; why it died, when there was none
    fingerprint: str | None
    message: str | None  #: of the error


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadKind:
    """Dead letters of one actor that died of the same."""

    queue: str
    actor: str
    error: str
    fingerprint: str | None
    message: str | None  #: of the first of them
    count: int
    oldest_ms: int
    newest_ms: int
    example: str  #: id of the newest


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters, the newest first; few with a cursor means that the page looked at as many as it may."""

    items: list[DeadLetter]
    next_cursor: str | None


@dataclass(slots=True)
class Changed:
    """What one call redrove or discarded, or would have."""

    matched: int = 0
    changed: int = 0
    next_cursor: str | None = None  #: where the next call goes on; None: all are done
    missing: list[str] = field(default_factory=list)  #: named ids that are not dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """How dead letters are let live again."""

    order: Order = "tail"
    interval_ms: float = 0.0  #: between two of them; only to the tail


class DeadLetters:
    """The dead letters of all queues."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    # -- looking ------------------------------------------------------------------------------------------------

    def page(self, wanted: DeadFilter, *, cursor: str | None = None, limit: int = 50) -> Page:
        """Those that match, the newest first over all queues and shards.

        Raises:
          NotFound: there is no such queue.
          InvalidMessage: the cursor is none.
        """
        ms, id_ = decode_cursor(cursor, (int, str)) if cursor else ("", "")
        shards = self._shards(wanted.queue)
        look = max(_LEAST_LOOK, PAGE_LOOK // max(1, len(shards)))
        found: list[DeadLetter] = []
        stops: list[tuple[int, str]] = []
        for shard in shards:
            stop_ms, stop_id, items = self._calls.run(
                "list_dead", shard, [wanted.encode(), limit, look, ms, id_]
            )
            found += (_letter(shard.queue, item) for item in items)
            if stop_ms != b"":
                stops.append((int(float(stop_ms)), stop_id.decode()))
        # Beyond where a shard stopped, it may have newer ones than the others: the next page begins there.
        stop = max(stops, key=_place, default=None)
        found = [one for one in found if stop is None or _place((one.died_ms, one.id)) >= _place(stop)]
        found.sort(key=lambda one: _place((one.died_ms, one.id)), reverse=True)
        if len(found) > limit:
            found = found[:limit]
            stop = (found[-1].died_ms, found[-1].id)
        return Page(found, None if stop is None else encode_cursor(stop))

    def summary(self, queue: str | None = None) -> list[DeadKind]:
        """How many there are of each kind, most first; costs as much as there are kinds.

        Raises:
          NotFound: there is no such queue.
        """
        kinds: dict[tuple[str, str, str, str], list[DeadKind]] = {}
        for shard in self._shards(queue):
            for reply in self._calls.run("dead_kinds", shard, []):
                kind = _kind(shard.queue, reply)
                kinds.setdefault((kind.queue, kind.actor, kind.error, kind.fingerprint or ""), []).append(
                    kind
                )
        return sorted(map(_merged, kinds.values()), key=lambda kind: (-kind.count, -kind.newest_ms))

    # -- changing -----------------------------------------------------------------------------------------------

    def redrive(
        self,
        chosen: DeadFilter | Sequence[str],
        how: Redrive,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
        seconds: float | None = None,
    ) -> Changed:
        """Let dead letters live again, in their original order within each group.

        Works for about ``seconds``, or to the end; with ``next_cursor`` the same call goes on, and what died since the
        first one is left alone. If the process dies between two batches, repeating from the beginning is safe.

        Args:
          chosen: a filter, or up to 500 ids.
          how: to which end of their groups, and how fast.
          dry_run: change nothing, count what matches.
          limit: change no more than so many.
          cursor: of the call before.
          seconds: begin no new batch after so long.

        Raises:
          NotFound: there is no such queue.
          InvalidMessage: the cursor is none.
        """
        walk = _Walk(dry_run, limit, seconds, cursor)

        def run(shard: ShardKeys, selection: list[Any], most: int) -> tuple[bytes, int, list[bytes]]:
            place, died_by, next_at, ids = self._calls.run(
                "redrive",
                shard,
                [int(dry_run), walk.died_by, most, how.order, how.interval_ms, walk.next_at, *selection],
                session=True,
            )
            walk.next_at = float(next_at)
            return place, died_by, ids

        return self._walk(walk, chosen, run)

    def discard(
        self,
        chosen: DeadFilter | Sequence[str],
        *,
        dry_run: bool = False,
        cursor: str | None = None,
        seconds: float | None = None,
    ) -> Changed:
        """Forget dead letters; a group that one of them blocked goes on. Otherwise as ``redrive``."""
        walk = _Walk(dry_run, None, seconds, cursor)

        def run(shard: ShardKeys, selection: list[Any], most: int) -> tuple[bytes, int, list[bytes]]:
            arguments = [int(dry_run), walk.died_by, most, *selection]
            place, died_by, ids = self._calls.run("discard", shard, arguments, session=True)
            return place, died_by, ids

        return self._walk(walk, chosen, run)

    def skip(self, queue: str, group: str) -> str:
        """Take the head off a group that waits, backs off, or is blocked by a dead letter; answers its id.

        It is dead as ``skipped``; a dead letter stays one. The group goes on with the next.

        Raises:
          NotFound: there is no such queue.
          WrongState: the head runs; GroupEmpty: the group has no message that waits.
        """
        self._calls.check_queue(queue)
        shard = self._calls.shard_of(queue, group, "")
        outcome, id_, _ = self._calls.run("skip", shard, [f"g:{group}"], session=True)
        if outcome == b"running":
            raise WrongState(id_.decode(), "running", "skip")
        if outcome == b"none":
            raise GroupEmpty(group, "skip")
        return str(id_.decode())

    # -- one call after the other ---------------------------------------------------------------------------------

    def _shards(self, queue: str | None) -> Sequence[ShardKeys]:
        if queue is not None:
            self._calls.check_queue(queue)
        return [
            shard
            for name in ([queue] if queue else self._calls.queues())
            for shard in self._calls.shards(name)
        ]

    def _walk(self, walk: "_Walk", chosen: DeadFilter | Sequence[str], run: Any) -> Changed:
        if isinstance(chosen, DeadFilter):
            return walk.through_filter(self._shards(chosen.queue), chosen, run)
        return walk.through_ids(self._shards(None), chosen, run)


class _Walk:
    """Goes through shards in batches, as far as it may in one call."""

    def __init__(self, dry_run: bool, limit: int | None, seconds: float | None, cursor: str | None) -> None:
        self._dry_run = dry_run
        self._left = limit
        self._batches = 0
        self._ends = None if seconds is None else time.monotonic() + seconds
        queue, shard, after, died_by, next_at = (
            decode_cursor(cursor, (str, int, str, int, float)) if cursor else ("", 0, "", "", 0.0)
        )
        self._begins, self._after = (queue, shard), after
        self.died_by: int | str = died_by  #: ms; what died later is another death; '': not known yet
        self.next_at: float = next_at  #: ms, when the next one is due

    def through_filter(self, shards: Sequence[ShardKeys], wanted: DeadFilter, run: Any) -> Changed:
        """Change what matches, until all is done, or time or limit are up."""
        total, encoded = Changed(), wanted.encode()
        for shard in shards:
            if (shard.queue, shard.shard) < self._begins:
                continue
            after = self._after if (shard.queue, shard.shard) == self._begins else ""
            while True:
                if self._is_over(total):
                    total.next_cursor = self._cursor(shard, after)
                    return total
                most = BATCH if self._left is None else min(BATCH, self._left - total.matched)
                place, died_by, ids = run(shard, [encoded, after], most)
                self.died_by, after = died_by, place.decode()
                self._count(total, ids)
                if not after:
                    break
        return total

    def through_ids(self, shards: Sequence[ShardKeys], ids: Sequence[str], run: Any) -> Changed:
        """Change those that are named, wherever they are."""
        total, found = Changed(), set()
        for shard in shards:
            _, _, changed = run(shard, ["", "", *ids], BATCH)
            self._count(total, changed)
            found |= {one.decode() for one in changed}
        total.missing = [one for one in ids if one not in found]
        return total

    def _count(self, total: Changed, ids: Sequence[bytes]) -> None:
        self._batches += 1
        total.matched += len(ids)
        total.changed += 0 if self._dry_run else len(ids)

    def _is_over(self, total: Changed) -> bool:
        if self._left is not None and total.matched >= self._left:
            return True
        # One batch is always done, so that whoever repeats gets on.
        return self._batches > 0 and self._ends is not None and time.monotonic() >= self._ends

    def _cursor(self, shard: ShardKeys, after: str) -> str:
        return encode_cursor((shard.queue, shard.shard, after, self.died_by, self.next_at))


def _place(of: tuple[int, str]) -> tuple[int, bytes]:
    """Where a dead letter stands among all, as Redis sorts them."""
    return of[0], of[1].encode()


def _letter(queue: str, reply: list[Any]) -> DeadLetter:
    id_, died, actor, ref, sequence, enqueued, reason, failures, crashes, redriven, error, mark, text = reply
    return DeadLetter(
        id=id_.decode(),
        queue=queue,
        died_ms=died,
        actor=actor.decode(),
        group=ref[2:].decode() if ref.startswith(b"g:") else None,
        sequence=sequence or None,
        enqueued_ms=enqueued,
        reason=reason.decode(),
        failures=failures,
        crashes=crashes,
        redriven=redriven,
        error=error.decode("utf-8", "replace"),
        fingerprint=mark.decode() or None,
        message=text.decode("utf-8", "replace") or None,
    )


def _kind(queue: str, reply: list[Any]) -> DeadKind:
    actor, error, mark, text, count, oldest, newest, example = reply
    return DeadKind(
        queue=queue,
        actor=actor.decode(),
        error=error.decode("utf-8", "replace"),
        fingerprint=mark.decode() or None,
        message=text.decode("utf-8", "replace") or None,
        count=count,
        oldest_ms=int(float(oldest)),
        newest_ms=int(float(newest)),
        example=example.decode(),
    )


def _merged(kinds: list[DeadKind]) -> DeadKind:
    """The same kind in several shards."""
    newest = max(kinds, key=lambda kind: kind.newest_ms)
    return DeadKind(
        queue=newest.queue,
        actor=newest.actor,
        error=newest.error,
        fingerprint=newest.fingerprint,
        message=newest.message,
        count=sum(kind.count for kind in kinds),
        oldest_ms=min(kind.oldest_ms for kind in kinds),
        newest_ms=newest.newest_ms,
        example=newest.example,
    )


def each_page(letters: DeadLetters, wanted: DeadFilter, limit: int) -> Iterator[DeadLetter]:
    """The newest ``limit`` that match, page by page."""
    cursor: str | None = None
    while limit > 0:
        page = letters.page(wanted, cursor=cursor, limit=min(limit, 200))
        yield from page.items
        limit -= len(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return

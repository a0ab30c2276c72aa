"""Where messages stand in a shard, read in steps: each place answers some of what it holds, and how to go on.

A step costs one or two commands, however much a place holds. Each item comes with the position that goes on after it.
What stays where it is while somebody turns pages is seen; what moves meanwhile may be seen twice. A position that no
step ever answered raises ``TypeError`` or ``ValueError``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lockstep.calls import Calls
from lockstep.keys import ShardKeys

#: Where to go on; the beginning is the empty one.
Position = list[Any]

#: A group whose head vanishes between two commands is looked at again, so often.
_TRIES = 5


class Item(NamedTuple):
    """One id or ref of a place, and the position after it; None: it was the last."""

    name: str
    after: Position | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a step needs to know."""

    calls: Calls
    shard: ShardKeys
    position: Position
    count: int

    def key(self, name: str) -> str:
        """The full name of a key of the shard."""
        return self.shard.prefix + name


def by_time(look: Look, name: str, *, newest: bool) -> list[Item]:
    """Members of a sorted set by their score; a position is a score and how many of that score were seen."""
    score, seen = look.position or ("+inf" if newest else "-inf", 0)
    command, end = ("ZREVRANGEBYSCORE", "-inf") if newest else ("ZRANGEBYSCORE", "(+inf")
    flat = look.calls.command(
        command, look.key(name), _score(score), end, "WITHSCORES", "LIMIT", _count(seen), look.count
    )
    items: list[Item] = []
    for member, found in zip(flat[::2], flat[1::2], strict=True):
        score, seen = (score, seen + 1) if found.decode() == score else (found.decode(), 1)
        items.append(Item(member.decode(), [score, seen]))
    return _ended(items, len(items) < look.count)


def newest_of_list(look: Look, name: str) -> list[Item]:
    """Elements of a list from its tail; a position is how many were seen."""
    seen = _count(look.position[0]) if look.position else 0
    found = look.calls.command("LRANGE", look.key(name), -seen - look.count, -seen - 1)
    items = [Item(one.decode(), [seen + number]) for number, one in enumerate(reversed(found), start=1)]
    return _ended(items, len(items) < look.count)


def of_list(look: Look, name: str) -> list[Item]:
    """Elements of a list from its head; a position is the last one, and the beginning when that is gone."""
    key, last = look.key(name), str(look.position[0]) if look.position else None
    for _ in range(_TRIES):
        place = None if last is None else look.calls.command("LPOS", key, last)
        first = 0 if place is None else int(place)
        found = [one.decode() for one in look.calls.command("LRANGE", key, first, first + look.count)]
        if place is None:
            break
        if found[:1] == [last]:
            found = found[1:]
            break
    items = [Item(one, [one]) for one in found[: look.count]]
    return _ended(items, len(found) < look.count)


def of_hash(look: Look, name: str) -> list[Item]:
    """Fields of a hash; a position is a cursor, and the last field seen of those that it gives."""
    cursor, last = look.position or ("0", "")
    following, fields = look.calls.run("scan", look.shard, [name, _whole(cursor), look.count])
    return _scanned([one.decode() for one in fields], cursor, last, following.decode())


def of_words(look: Look, words: Sequence[str]) -> list[Item]:
    """Ids of messages that have all of these words: the smallest set is read, the others are asked."""
    if look.position:
        cursor, last, word = look.position
    else:
        sizes = {one: int(look.calls.command("SCARD", look.key(f"word:{one}"))) for one in words}
        cursor, last, word = "0", "", min(words, key=lambda one: (sizes[one], one))
    if word not in words:
        raise ValueError(word)
    following, found = look.calls.command(
        "SSCAN", look.key(f"word:{word}"), _whole(cursor), "COUNT", look.count
    )
    items = _scanned([one.decode() for one in found], cursor, last, following.decode(), word)
    for other in words:
        if other != word and items:
            known = look.calls.command("SMISMEMBER", look.key(f"word:{other}"), *(one.name for one in items))
            # One that lacks a word stays as a step of the way, under a name that no message has.
            items = [one if has else Item("", one.after) for one, has in zip(items, known, strict=True)]
    return items


def _scanned(names: list[str], cursor: str, last: str, following: str, *rest: str) -> list[Item]:
    if last in names:
        names = names[names.index(last) + 1 :]
    after: Position | None = None if following == "0" else [following, "", *rest]
    items = [Item(name, [cursor, name, *rest]) for name in names]
    if items:
        items[-1] = Item(items[-1].name, after)
    elif after is not None:
        items = [Item("", after)]
    return items


def _ended(items: list[Item], ended: bool) -> list[Item]:
    if ended and items:
        items[-1] = Item(items[-1].name, None)
    return items


def _score(text: object) -> str:
    if math.isnan(float(str(text))):
        raise ValueError(text)
    return str(text)


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(value)
    return value


def _whole(text: object) -> str:
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and int(text[:30]) < 2**64):
        raise ValueError(text)
    return text

"""Turns the pages of a shard: everything that is there, with where it was seen and how often.

Workers may move things meanwhile, so what is read here is only where to look: the scripts judge.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from lockstep.calls import Calls
from lockstep.keys import ShardKeys

#: Things of one page, about.
PAGE: Final = 500

#: What it is, its name, where it was seen, how often it was seen in lists ('' not looked).
Item = tuple[str, bytes, bytes, int | str]

_READY: Final = ("ready", *(f"ready:{level}" for level in range(1, 10)))

#: Where groups are, beside the ready lists, and the command that turns pages.
_PLACES: Final = (
    ("leases", "HSCAN"),
    ("expiries", "ZSCAN"),
    ("blocked", "ZSCAN"),
    ("halted", "SSCAN"),
    ("limited", "HSCAN"),
)


class Pages:
    """Reads one shard, once."""

    def __init__(self, calls: Calls, shard: ShardKeys) -> None:
        self._names = Names(calls, shard)
        self._ready: Counter[bytes] = Counter()
        self._placed: set[bytes] = set()  # ids that were seen in a group or scheduled

    def items(self) -> Iterator[Item]:
        """All there is; each thing once for each place that it may contradict."""
        for name in _READY:
            self._ready.update(self._names.list(name))
        yield from self._listed()
        yield from self._scheduled()
        yield from self._done()
        yield from self._messages()
        yield from self._groups()
        yield from self._members("kind", "letter", "kinds", "HSCAN")
        yield from self._members("lane", "waiter", "lanes", "ZSCAN")
        for word in self._names.of("word:"):
            yield from (("word", one, word, "") for one in self._names.members(b"word:" + word, "SSCAN"))
        yield from (("unique", name, b"", "") for name in self._names.members("unique", "HSCAN"))

    # -- kinds of things ----------------------------------------------------------------------------------------

    def _listed(self) -> Iterator[Item]:
        for ref in self._names.of("group:"):
            seen = Counter(self._names.list(b"group:" + ref))
            self._placed.update(seen)
            yield from (("message", message, ref, times) for message, times in seen.items())

    def _scheduled(self) -> Iterator[Item]:
        for member in self._names.members("scheduled", "ZSCAN"):
            self._placed.add(member[16:])
            yield "scheduled", member, b"", ""

    def _done(self) -> Iterator[Item]:
        ordered = Counter(self._names.list("done_order"))
        names = set(ordered).union(self._names.members("done", "HSCAN"), self._names.members("kept", "ZSCAN"))
        yield from (("done", name, b"", ordered[name]) for name in names)

    def _messages(self) -> Iterator[Item]:
        ended = {
            one for name in ("dead", "dead_order", "cancelled") for one in self._names.members(name, "ZSCAN")
        }
        for message in self._names.members("messages", "HSCAN"):
            ended.discard(message)
            if message not in self._placed:
                yield "message", message, b"", self._ready[b"m:" + message]
        yield from (("message", message, b"", "") for message in ended)  # they have no row

    def _groups(self) -> Iterator[Item]:
        refs = self._names.of("group:").union(self._ready)
        for name, command in _PLACES:
            refs.update(self._names.members(name, command))
        yield from (("group", ref, b"", self._ready[ref]) for ref in refs)

    def _members(self, name: str, member: str, register: str, command: str) -> Iterator[Item]:
        """Kinds and lanes: a register of all, and a sorted set for each."""
        names = self._names.of(f"{name}:").union(self._names.members(register, command))
        for one in names:
            yield name, one, b"", ""
            yield from (
                (member, each, one, "") for each in self._names.members(f"{name}:".encode() + one, "ZSCAN")
            )


class Names:
    """The keys of a shard, and pages of what they hold."""

    def __init__(self, calls: Calls, shard: ShardKeys) -> None:
        self._calls = calls
        self._prefix = shard.prefix.encode()
        self._found: dict[str, set[bytes]] = {"group:": set(), "kind:": set(), "lane:": set(), "word:": set()}
        self._read()

    def of(self, family: str) -> set[bytes]:
        """What stands behind ``group:``, ``kind:``, ``lane:`` or ``word:`` in the names of keys."""
        return self._found[family]

    def members(self, name: str | bytes, command: str) -> Iterator[bytes]:
        """The members or fields of one key, by HSCAN, SSCAN or ZSCAN."""
        for page in scan(self._calls, self._key(name), command):
            yield from page

    def list(self, name: str | bytes) -> Iterator[bytes]:
        """The elements of a list."""
        yield from self._ranks("LRANGE", name)

    def by_score(self, name: str) -> Iterator[bytes]:
        """The members of a sorted set in their order; those that move meanwhile may be missed."""
        yield from self._ranks("ZRANGE", name)

    def _ranks(self, command: str, name: str | bytes) -> Iterator[bytes]:
        first = 0
        while page := self._calls.command(command, self._key(name), first, first + PAGE - 1):
            yield from page
            first += PAGE

    def _key(self, name: str | bytes) -> bytes:
        return self._prefix + (name.encode() if isinstance(name, str) else name)

    def _read(self) -> None:
        pattern = re.sub(rb"([\\*?\[\]])", rb"\\\1", self._prefix) + b"*"
        cursor = b"0"
        while True:
            cursor, keys = self._calls.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            for key in keys:
                name = bytes(key)[len(self._prefix) :]
                for family, found in self._found.items():
                    if name.startswith(family.encode()):
                        found.add(name[len(family) :])
            if cursor == b"0":
                return


def scan(calls: Calls, key: str | bytes, command: str) -> Iterator[list[bytes]]:
    """The members or fields of a set, sorted set or hash, page by page; one may come twice."""
    cursor = b"0"
    while True:
        cursor, found = calls.command(command, key, cursor, "COUNT", PAGE)
        yield found if command == "SSCAN" else found[::2]
        if cursor == b"0":
            return

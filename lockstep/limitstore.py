"""Limits as Redis has them: what the code and the settings declare, what operators change, what is used.

The scripts decide with them (``lua/includes/limits.lua``). Whatever is changed here holds from the next claim on; what
waits already is looked at again within a second.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lockstep import clean, logs
from lockstep.calls import Calls
from lockstep.errors import NotFound
from lockstep.keys import ShardKeys
from lockstep.rates import Rate, decode, encode

#: Where a limit may be said, the strongest first.
SOURCES: Final = ("run", "env", "code")

_OFF: Final = "off"

#: Fields of Redis's hash that set a limit.
_VALUE: Final = re.compile(f"(?:{'|'.join(SOURCES)}):(?:rate|concurrency):")

log = logs.get_logger("lockstep.limits")


@dataclass(frozen=True, slots=True)
class Declared:
    """What the options of an actor say."""

    rates: tuple[Rate, ...] = ()
    concurrency: int | None = None
    names: tuple[str, ...] = ()  #: limits that it shares with others


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit and how it is used."""

    name: str
    rates: tuple[Rate, ...]
    concurrency: int | None
    sources: dict[str, str]  #: ``rates`` and ``concurrency`` -> run, env or code
    running: int  #: that it counts now, without those of its keys
    waiting: int  #: groups that wait for it, without those that wait for one of its keys or groups
    held_ms: int  #: milliseconds until a hold ends; 0: none


class LimitStore:
    """Reads and changes limits."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.key = calls.global_key("limits")  #: what scripts are given that look at limits

    def declare(
        self,
        actors: Mapping[str, Declared],
        rates: Mapping[str, tuple[Rate, ...]],
        concurrency: Mapping[str, int],
    ) -> set[str]:
        """What this process's actors and settings say, instead of what they said before.

        Processes of an older release may say something else: who booted last is right.

        Returns the names of shared limits for which nobody has set a rate or a concurrency: they limit nothing.
        """
        wanted = {f"env:rate:{name}": encode(given) for name, given in rates.items()}
        wanted |= {f"env:concurrency:{name}": str(most) for name, most in concurrency.items()}
        for actor, declared in actors.items():
            wanted |= _fields_of(actor, declared)
        known = self._fields()
        own = {f"code:{kind}:{actor}" for kind in ("rate", "concurrency", "names") for actor in actors}
        gone = [name for name in known if (name in own or name.startswith("env:")) and name not in wanted]
        if gone or wanted.items() - known.items():
            self._change(gone, wanted)
        fields = (known.keys() - gone) | wanted.keys()
        is_set = {field.split(":", 2)[2] for field in fields if _VALUE.match(field)}
        return {name for declared in actors.values() for name in declared.names} - is_set

    def set(
        self, name: str, *, rates: tuple[Rate, ...] | None = None, concurrency: int | None = None
    ) -> None:
        """Say at run time what a limit is: no rates or 0 at once turn that half off, None leaves it as it is."""
        fields: dict[str, str] = {}
        if rates is not None:
            fields[f"run:rate:{name}"] = encode(rates) or _OFF
        if concurrency is not None:
            fields[f"run:concurrency:{name}"] = str(concurrency) if concurrency else _OFF
        self._change([], fields)

    def reset(self, name: str) -> None:
        """Back to what settings and code say."""
        self._change([f"run:rate:{name}", f"run:concurrency:{name}"], {})

    def all(self) -> list[Limit]:
        """Every limit that somebody has set, by name."""
        fields = self._fields()
        names = {
            field.split(":", 2)[2] for field in fields if field.startswith(tuple(f"{s}:" for s in SOURCES))
        }
        names -= {field.split(":", 2)[2] for field in fields if field.startswith("code:names:")} - {
            field.split(":", 2)[2]
            for field in fields
            if not field.startswith("code:names:") and field.count(":") > 1
        }
        running = self._calls.command("HGETALL", f"{self.key}:running")
        occupied = {clean.text(k): int(v) for k, v in zip(running[::2], running[1::2], strict=True)}
        limits = []
        for name in sorted(names):
            try:
                limits.append(self._limit(name, fields, occupied.get(name, 0)))
            except ValueError as error:  # of another release, which writes limits in another way
                log.warning("limit.unreadable", limit=clean.text(name), error=clean.text(str(error)))
        return limits

    def hold(self, name: str, ms: int, key: str = "") -> int:
        """Start nothing that a limit counts for so long; a longer hold stays. Answers how long it is held now."""
        return int(self._calls.run_on("hold", [self.key], [_instance(name, key), ms]))

    def release(self, name: str, key: str = "") -> None:
        """End a hold."""
        self._calls.command("DEL", f"{self.key}:hold:{_instance(name, key)}")
        self._change([], {}, force=True)

    def charge(self, shard: ShardKeys, name: str, key: str, rates: Iterable[Rate]) -> int:
        """Count a start for the key of a limit; ``rates`` hold when none are set for the name.

        Answers the milliseconds to wait when it may not start: then nothing was counted.

        Raises:
          NotFound: no rates are given, and none are set.
        """
        arguments = [name, key, encode(rates)]
        wait = int(self._calls.run("charge", shard, arguments, keys=[self.key], session=True))
        if wait < 0:
            raise NotFound("limit", name)
        return wait

    def pause_actor(self, actor: str) -> bool:
        """Start nothing more of an actor; answers whether that is new."""
        return self._change([], {f"paused:{actor}": "1"})

    def resume_actor(self, actor: str) -> bool:
        """Start it again; answers whether it was paused."""
        return self._change([f"paused:{actor}"], {})

    def paused_actors(self) -> list[str]:
        """The actors that are paused, sorted."""
        return sorted(name.removeprefix("paused:") for name in self._fields() if name.startswith("paused:"))

    # -- parts --------------------------------------------------------------------------------------------------

    def _fields(self) -> dict[str, str]:
        flat = self._calls.command("HGETALL", self.key)
        # As they stand: they are compared with what this process declares.
        texts = [bytes(one).decode("utf-8", "backslashreplace") for one in flat]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def _change(self, removed: list[str], fields: Mapping[str, str], *, force: bool = False) -> bool:
        arguments = [len(removed), *removed, *(part for pair in fields.items() for part in pair)]
        changed = bool(self._calls.run_on("set_limits", [self.key], arguments) == 1)
        if changed or force:
            # If the process dies here, the reapers see the new revision and do the same.
            for queue in self._calls.queues():
                for shard in self._calls.shards(queue):
                    self._calls.run("relook", shard, [])
        return changed

    def _limit(self, name: str, fields: Mapping[str, str], running: int) -> Limit:
        rate, concurrency = (_in_force(fields, kind, name) for kind in ("rate", "concurrency"))
        lanes = [
            shard.prefix + f"lane:{lane}"
            for queue in self._calls.queues()
            for shard in self._calls.shards(queue)
            for lane in (name, f"{name}|p")
        ]
        held = int(self._calls.command("PTTL", f"{self.key}:hold:{name}"))
        return Limit(
            name=name,
            rates=decode(rate[1]) if rate else (),
            concurrency=int(concurrency[1]) if concurrency else None,
            sources={
                kind: found[0] for kind, found in (("rates", rate), ("concurrency", concurrency)) if found
            },
            running=running,
            waiting=sum(int(self._calls.command("ZCARD", lane)) for lane in lanes),
            held_ms=max(0, held),
        )


def _fields_of(actor: str, declared: Declared) -> dict[str, str]:
    fields = {}
    if declared.rates:
        fields[f"code:rate:{actor}"] = encode(declared.rates)
    if declared.concurrency is not None:
        fields[f"code:concurrency:{actor}"] = str(declared.concurrency)
    if declared.names:
        fields[f"code:names:{actor}"] = "\n".join(declared.names)
    return fields


def _in_force(fields: Mapping[str, str], kind: str, name: str) -> tuple[str, str] | None:
    for source in SOURCES:
        value = fields.get(f"{source}:{kind}:{name}")
        if value is not None:
            return None if value == _OFF else (source, value)
    return None


def _instance(name: str, key: str) -> str:
    return f"{name}|k:{key}" if key else name

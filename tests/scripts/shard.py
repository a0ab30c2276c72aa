"""One shard as its scripts see it: run a script, read the whole state, expire what a test wants expired."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from lockstep import replies, scripts
from lockstep.calls import Calls
from lockstep.exchange import settlement_arguments
from lockstep.keys import ShardKeys, global_key
from lockstep.records import Claim, Lease, Reaped, Settlement
from lockstep.settings import Settings
from lockstep.states import Verb

LEASE_MS = 60_000
#: Milliseconds that a busy machine may take between a script and the look at what it did.
SLACK_MS = 25_000
EPOCH = "epoch-01"
NONCE = "n" * 16
TOKEN_LENGTH = 8 + 1 + 16 + 1 + 16

#: Far enough away that nothing falls due while a test runs, and that it is never near another time.
HOUR = 3_600_000

State = dict[str, Any]

#: A row's elements, its extras as JSON: a map would be lost on the way.
ROW_LENGTH = 14
_UNPACK = """
local row = cmsgpack.unpack(ARGV[1])
if type(row) == 'table' and type(row[14]) == 'table' then row[14] = cjson.encode(row[14]) end
return row
"""

#: Bytes that are no row of a message.
GARBAGE = [b"\xc1", b"", b"\x01", b"\x93\x01", b"\x81\xa1a\x01", b"\xc0", b"\x90"]


class Near:
    """Equal to every time within five seconds of it."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and abs(other - self.ms) <= SLACK_MS

    def __repr__(self) -> str:
        return f"Near({self.ms})"


def message(
    id_: str,
    group: str | None = None,
    *,
    delay: int | str = 0,
    blocks: bool = False,
    payload: bytes = b"p",
    **extra: object,
) -> list[Any]:
    """A message as ``enqueue.lua`` reads it."""
    ref = f"m:{id_}" if group is None else f"g:{group}"
    return [id_, ref, "act", payload, delay, "1" if blocks else "0", json.dumps(extra) if extra else ""]


def once(*places: int, print_: str = "print", ttl: int = HOUR) -> dict[str, Any]:
    """What a message is known by: places of records among the keys, the first is 3."""
    return {"at": list(places), "prints": [print_] * len(places), "ttl": ttl}


def settlement(lease: Lease, verb: Verb, **options: Any) -> Settlement:
    """How a claimed lease ends."""
    return Settlement(lease.ref, lease.token, lease.id, verb, **options)


def follow_ups(one: Settlement) -> list[str | bytes]:
    """What is enqueued with a settlement, as the script reads it."""
    return [part for entry in one.follow_ups for part in ("follow", entry)]


def text(value: bytes | str) -> str:
    """Bytes as text, each different from every other."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


class Shard:
    """A shard of its own, all calls explicit."""

    def __init__(self, client: "redis.Redis", keys: ShardKeys) -> None:
        self.redis: Any = client  # its types mix those of all protocols
        self.keys = keys
        self.prefix = keys.prefix
        self.limits = global_key(keys.namespace, "limits")
        self.control = global_key(keys.namespace, "control")
        self.intake = global_key(keys.namespace, "intake")
        self.namespace = keys.namespace
        self._calls = 0

    def key(self, name: str) -> str:
        """The full name of a key of the shard."""
        return self.prefix + name

    def now(self, offset: float = 0) -> float:
        """The server's clock in milliseconds, moved by ``offset``."""
        seconds, micros = self.redis.time()
        return float(seconds * 1000 + micros // 1000 + offset)

    def near(self, offset: float = 0) -> Near:
        """About now, moved by ``offset`` milliseconds."""
        return Near(self.now(offset))

    # -- scripts ------------------------------------------------------------------------------------------------

    def run(self, name: str, *arguments: Any, keys: Sequence[str] | None = None) -> Any:
        """Run one script; ``keys`` are those beside the shard's own, else the limits."""
        return self.run_on(name, (self.key("meta"), *((self.limits,) if keys is None else keys)), *arguments)

    def run_on(self, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        """Run one script on these keys."""
        script = scripts.load(name)
        return self.redis.execute_command("EVAL", script.text, len(keys), *keys, *arguments)

    def number(self) -> str:
        """The number of a new call."""
        self._calls += 1
        return str(self._calls)

    def enqueue(
        self,
        *messages: list[Any],
        number: str | None = None,
        most: int = 0,
        follow_up: bool = False,
        check: bool = False,
        records: Sequence[str] = (),
    ) -> list[Any]:
        """Enqueue; answers kind, sequence, state for each, and its id if it is another; or why not.

        ``records`` are the keys that ``once(3, …)`` and the next numbers mean.
        """
        flat = [part for one in messages for part in one]
        head = ("sender", number or self.number(), most, int(follow_up), int(check), len(messages))
        answers = self.run("enqueue", *head, *flat, keys=(self.intake, *map(self.record, records)))
        if answers and isinstance(answers[0], bytes):
            return [_plain(part) for part in answers]
        return [tuple(_plain(one)) for one in answers]

    def record(self, name: str) -> str:
        """The full name of a record of what was asked."""
        return global_key(self.namespace, f"idempotency:{name}")

    def claim(
        self,
        wanted: int = 1,
        *,
        session: str = "claimer",
        number: str | None = None,
        epoch: str = EPOCH,
        nonce: str = NONCE,
        hold: str = "1",
        held: int = -1,
        owner: str = "w",
    ) -> Claim:
        """Claim as the worker ``w``; ``held``: what it holds already, where it may take no more than its share."""
        call = (
            session,
            number or self.number(),
            epoch,
            nonce,
            wanted,
            LEASE_MS,
            owner,
            hold,
            held,
            "q",
            1,
        )
        return replies.claim(self.run("claim", *call))

    def lease(self) -> Lease:
        """Claim exactly one head."""
        (lease,) = self.claim().leases
        return lease

    def settle(
        self,
        *settlements: Settlement,
        number: str | None = None,
        keep: int = 10,
        follows: bool = False,
        counters: Mapping[str, int] | None = None,
    ) -> list[int]:
        """Settle; answers 1 or 0 for each."""
        counted = [part for pair in (counters or {}).items() for part in pair]
        flat = [part for one in settlements for part in (*settlement_arguments(one), *follow_ups(one))]
        head = ("settler", number or self.number(), keep, int(follows), len(counted) // 2)
        return list(self.run("settle", *head, *counted, *flat))

    def reap(
        self,
        *,
        claimer: str = "",
        gap: int = HOUR,
        crashes: int = 3,
        batch: int = 200,
        keep_ms: int = HOUR,
        keep_dead_ms: int = 0,
    ) -> Reaped:
        """Reap once."""
        return replies.reaped(self.run("reap", claimer, LEASE_MS, gap, crashes, batch, keep_ms, keep_dead_ms))

    def redrive(
        self,
        *ids: str,
        order: str = "tail",
        interval: float = 0,
        not_before: float = 0,
        number: str | None = None,
        dry: bool = False,
        most: int = 500,
        died_by: float | str = "",
        after: str = "",
        **wanted: object,
    ) -> tuple[str, float, list[str]]:
        """Redrive those named, or those that match; answers where it stopped, when the next one goes, and which."""
        chosen = ["", ""] if ids else [json.dumps(wanted), after]
        head = ("operator", number or self.number(), int(dry), died_by, most, order, interval, not_before)
        place, _, next_at, matched = self.run("redrive", *head, *chosen, *ids)
        return text(place), next_at, [text(one) for one in matched]

    def discard(self, *ids: str, number: str | None = None, dry: bool = False, **wanted: object) -> list[str]:
        """Discard those named, or those that match; answers which."""
        chosen = ["", ""] if ids else [json.dumps(wanted), ""]
        head = ("operator", number or self.number(), int(dry), "", 500)
        return [text(one) for one in self.run("discard", *head, *chosen, *ids)[2]]

    def skip(self, group: str, number: str | None = None) -> tuple[str, str]:
        """Skip the head of a group; answers what became of it, and its id."""
        outcome, id_, _ = self.run("skip", "operator", number or self.number(), f"g:{group}")
        return text(outcome), text(id_)

    def bury(self, *ids: str, error: bytes = b"", reason: str = "why") -> None:
        """Claim until each of these, ready as the next heads, is dead; whatever else is claimed goes back."""
        for id_ in ids:
            leases = {lease.id: lease for lease in self.claim(100).leases}
            lease = leases.pop(id_)
            back = [settlement(one, Verb.RELEASE) for one in leases.values()]
            self.settle(settlement(lease, Verb.DEAD_LETTER, reason=reason, error=error), *back)

    def expire(self, ref: str) -> None:
        """Let a lease have ended long ago."""
        assert self.redis.zadd(self.key("expiries"), {ref: 1}, xx=True, ch=True) == 1

    def state(self, id_: str) -> str | None:
        """The state of a message by ``inspect``; None: unknown."""
        reply = self.run("inspect", id_, 1000)
        return None if reply is None else text(reply[0])

    # -- the whole state ----------------------------------------------------------------------------------------

    def snapshot(self) -> State:
        """Everything the shard holds, rows unpacked, but for what sessions remember and which ids were removed."""
        names = sorted(text(key)[len(self.prefix) :] for key in self.redis.scan_iter(self.prefix + "*"))
        return {name: self._value(name) for name in names if not name.startswith(("session:", "removed"))}

    def sessions(self) -> list[str]:
        """The sessions that are remembered."""
        return sorted(
            text(key)[len(self.prefix) + 8 :] for key in self.redis.scan_iter(self.prefix + "session:*")
        )

    def changes(self, before: State) -> State:
        """What a script changed: each changed key with its value, None for one that is gone."""
        after = self.snapshot()
        return {name: after.get(name) for name in {*before, *after} if before.get(name) != after.get(name)}

    def _value(self, name: str) -> Any:
        key = self.key(name)
        match text(self.redis.type(key)):
            case "hash":
                read = {"messages": self._row, "leases": self._held, "done": self._held, "kinds": self._facts}
                read_value = read.get(name, text)
                return {text(field): read_value(value) for field, value in self.redis.hgetall(key).items()}
            case "set":
                return sorted(text(one) for one in self.redis.smembers(key))
            case "list":
                return [text(one) for one in self.redis.lrange(key, 0, -1)]
            case "zset":
                return {
                    text(member): score for member, score in self.redis.zrange(key, 0, -1, withscores=True)
                }
            case _:
                return text(self.redis.get(key))

    def _row(self, packed: bytes) -> Any:
        unpacked = _plain(self.redis.execute_command("EVAL", _UNPACK, 0, packed))
        if isinstance(unpacked, list) and len(unpacked) == ROW_LENGTH and unpacked[-1] is not None:
            unpacked[-1] = json.loads(unpacked[-1])
        return unpacked

    def _facts(self, packed: bytes) -> Any:
        return _plain(self.redis.execute_command("EVAL", "return cmsgpack.unpack(ARGV[1])", 0, packed))

    def _held(self, packed: bytes) -> Any:
        unpack = "return {cmsgpack.unpack(ARGV[1])}"
        return text(packed[:TOKEN_LENGTH]), *_plain(
            self.redis.execute_command("EVAL", unpack, 0, packed[TOKEN_LENGTH:])
        )


def calls_of(shard: Shard) -> Calls:
    """What the parts of the store are made of, on the namespace of a shard."""
    options = shard.redis.connection_pool.connection_kwargs
    url = f"redis://{options['host']}:{options['port']}/{options.get('db', 0)}"
    return Calls(Settings.load({"REDIS_URL": url, "QUEUE_NAMESPACE": shard.keys.namespace}, env_file=""))


def _plain(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_plain(one) for one in reply]
    return text(reply) if isinstance(reply, bytes) else reply


def row(ref: str, sequence: int, enqueued: Any, **given: Any) -> list[Any]:
    """A whole row as ``includes/row.lua`` describes it."""
    rest = {
        "failures": 0,
        "crashes": 0,
        "parked": 0,
        "history": [],
        "member": "",
        "died": 0,
        "reason": "",
        "blocks": 0,
        "extra": None,
    }
    assert not given.keys() - rest.keys()
    return [ref, "act", "p", sequence, enqueued, *(rest | given).values()]


def kind_of(error: str, fingerprint: str = "") -> str:
    """The kind of dead letters of the actor ``act`` (short texts only)."""
    packed = b"\x93" + b"".join(
        bytes([0xA0 + len(part)]) + part.encode() for part in ("act", error, fingerprint)
    )
    return hashlib.sha1(packed).hexdigest()[:16]


def listed_dead(
    id_: str, at: Any, error: str, fingerprint: str = "", *, text: str = "", sequence: float = 1
) -> State:
    """Every list that says that ``id_``, the only one, is dead."""
    kind = kind_of(error, fingerprint)
    return {
        "dead": {id_: at},
        "dead_order": {id_: sequence},
        "dead_actors": {"act": "1"},
        "kinds": {kind: ["act", error, fingerprint, text]},
        f"kind:{kind}": {id_: at},
    }

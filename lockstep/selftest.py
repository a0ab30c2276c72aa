"""One message through Redis and back, in a namespace of its own: scripts load, and a message goes its whole way."""

import dataclasses
import secrets
import time
from collections import Counter
from contextlib import closing
from typing import Final

from lockstep.errors import LockstepError
from lockstep.exchange import Exchange
from lockstep.keys import ShardKeys
from lockstep.records import NewMessage, Settlement, Verb
from lockstep.settings import Settings
from lockstep.store import Store

#: Seconds after which another run's queue is a remnant of one that was killed.
_REMNANT_SECONDS: Final = 600

_GROUP: Final = "self-test"

#: What a message that was done may leave in its shard, beside sessions.
_LEFT: Final = (
    *("meta", "messages", f"group:g:{_GROUP}", "ready", "leases", "expiries", "claimers", "wake"),
    *("done", "done_order", "kept", "stats", "blocked", "cancelled"),
)


class SelfTestFailed(LockstepError):
    """A message did not come back from Redis as it went in."""


def self_test(settings: Settings) -> float:
    """Enqueue, claim and settle one message, and remove what that left; answers the seconds it took.

    If this process dies on the way, the next self-test after ten minutes removes the rest.

    Raises:
      SelfTestFailed: a step answered something else than it must.
      RedisUnavailable, ScriptFailed: Redis is away, or refuses a command that Lockstep needs.
    """
    namespace = f"{settings.queue_namespace}.self-test"
    own = dataclasses.replace(settings, queue_namespace=namespace, queue_shards=1)
    with closing(Store.connect(own)) as store:
        _clear_remnants(store)
        queue = f"{time.time():.0f}-{secrets.token_hex(4)}"
        (shard,) = store.shards(queue)
        exchange = Exchange(store.new_link(), shard, own, "self-test")
        began = time.monotonic()
        try:
            _go_round(store, exchange, queue)
            return time.monotonic() - began
        finally:
            sessions = (*exchange.sessions, *store.idle_sessions())
            _clear(store, shard, sessions)
            exchange.disconnect()


def _go_round(store: Store, exchange: Exchange, queue: str) -> None:
    payload = secrets.token_bytes(32)  # opaque bytes, as every payload is
    message = NewMessage(id=queue, actor="self-test", payload=payload, group=_GROUP)
    store.enqueue(queue, [message])
    claimed = exchange.request([], Counter(), wanted=1, held=-1)
    claim = claimed.claim
    if claimed.error is not None:
        raise claimed.error
    if claim is None or [(one.id, one.payload) for one in claim.leases] != [(queue, payload)]:
        raise SelfTestFailed("a message that was enqueued could not be claimed")
    (lease,) = claim.leases
    done = Settlement(ref=lease.ref, token=lease.token, id=lease.id, verb=Verb.COMPLETE)
    settled = exchange.request([done], Counter(), wanted=0, held=0)
    if settled.error is not None:
        raise settled.error
    if settled.lost:
        raise SelfTestFailed("a claimed message could not be settled")


def _clear(store: Store, shard: ShardKeys, sessions: tuple[str, ...] = ()) -> None:
    names = (*_LEFT, *(f"session:{session}" for session in sessions))
    store.command("DEL", *(shard.prefix + name for name in names))
    store.command(
        "SREM", store.global_key("queues"), shard.queue
    )  # last: a queue that is listed is cleared again


def _clear_remnants(store: Store) -> None:
    for queue in store.queues():
        if int(queue.partition("-")[0]) < time.time() - _REMNANT_SECONDS:
            _clear(store, store.shards(queue)[0])

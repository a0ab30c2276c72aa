"""Makes dead letters without a worker."""

from collections import Counter
from collections.abc import Callable

from lockstep import errorinfo
from lockstep.exchange import Exchange
from lockstep.records import Lease, Settlement
from lockstep.states import Verb
from lockstep.store import Store

#: What a message dies of; None: of nothing.
Cause = Callable[[Lease], BaseException | None]


def raised(error: BaseException) -> BaseException:
    """The error with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def bury_all(
    store: Store, queue: str, cause: Cause = lambda lease: None, *, reason: str = "attempts_exhausted"
) -> int:
    """Let everything that may be claimed of a queue die, until nothing may be; answers how many died."""
    died = 0
    for shard in store.shards(queue):
        exchange = Exchange(store.new_link(), shard, store.settings, "undertaker")
        while True:
            answer = exchange.request([], Counter(), 500, -1)
            leases = answer.claim.leases if answer.claim else []
            if not leases:
                break
            exchange.request([_death(lease, cause(lease), reason) for lease in leases], Counter(), 0, -1)
            died += len(leases)
        exchange.disconnect()
    return died


def _death(lease: Lease, error: BaseException | None, reason: str) -> Settlement:
    encoded = b"" if error is None else errorinfo.encode(raised(error))
    return Settlement(lease.ref, lease.token, lease.id, Verb.DEAD_LETTER, error=encoded, reason=reason)

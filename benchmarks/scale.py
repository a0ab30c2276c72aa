"""What much waiting costs: one claim, one enqueue and one status, beside nothing and beside large backlogs."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median
from typing import Final

from rich.table import Table

from benchmarks.senders import settings
from benchmarks.server import Server
from benchmarks.worker import QUEUE
from lockstep.exchange import Exchange
from lockstep.rates import Rate
from lockstep.records import NewMessage, Settlement
from lockstep.states import Verb
from lockstep.store import Store

#: Messages of the backlogs.
MANY: Final = 100_000
GROUPS: Final = 10_000

_BATCH: Final = 1000
_SAMPLES: Final = 300
_HOUR_MS: Final = 3_600_000
_PAYLOAD: Final = b'{"queue_name":"bench","actor_name":"bench.note","args":[],"kwargs":{},"options":{}}'


def run(server: Server, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Milliseconds of each step, by backlog; medians of several hundred."""
    measured = {}
    for name, load in _BACKLOGS.items():
        tell(name)
        server.empty()
        with closing(Store.connect(settings(server.url))) as store:
            load(store)
            measured[name] = _measure(store)
    return measured


def table(measured: dict[str, dict[str, float]]) -> Table:
    """One row a backlog."""
    made = Table(title=f"Beside a backlog: milliseconds, median of {_SAMPLES}")
    made.add_column("backlog", no_wrap=True)
    for column in next(iter(measured.values())):
        made.add_column(column, justify="right")
    for name, figures in measured.items():
        made.add_row(name, *(f"{value:.3f}" for value in figures.values()))
    return made


def _measure(store: Store) -> dict[str, float]:
    exchange = Exchange(store.new_link(), store.shards(QUEUE)[0], store.settings, "bench")
    enqueued, claimed, counted = [], [], []
    for number in range(_SAMPLES):
        fresh = [_message(f"fresh-{number}", f"fresh-{number}")]
        enqueued.append(_time(lambda fresh=fresh: store.enqueue(QUEUE, fresh)))  # type: ignore[misc]
        claimed.append(_time(lambda: _claim_and_settle(exchange)))
        counted.append(_time(lambda: store.counts(QUEUE)))
    exchange.disconnect()
    return {"enqueue": median(enqueued), "claim and settle": median(claimed), "status": median(counted)}


def _claim_and_settle(exchange: Exchange) -> None:
    claim = exchange.request([], Counter(), 1, -1).claim
    assert claim is not None
    done = [Settlement(one.ref, one.token, one.id, Verb.COMPLETE) for one in claim.leases]
    assert done
    exchange.request(done, Counter(), 0, -1)


def _time(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return (time.perf_counter() - started) * 1000


def _message(message_id: str, group: str, *, actor: str = "bench.note") -> NewMessage:
    return NewMessage(id=message_id, actor=actor, payload=_PAYLOAD, group=group)


def _send(store: Store, messages: Iterator[NewMessage]) -> None:
    while batch := [one for one, _ in zip(messages, range(_BATCH), strict=False)]:
        store.enqueue(QUEUE, batch)


def _one_group(store: Store) -> None:
    _send(store, (_message(f"m{number}", "one") for number in range(MANY)))
    _hold_heads(store, 1)


def _many_groups(store: Store) -> None:
    _send(store, (_message(f"m{number}", f"g{number % GROUPS}") for number in range(MANY)))


def _blocked_groups(store: Store) -> None:
    _many_groups(store)
    _hold_heads(store, GROUPS)


def _hold_heads(store: Store, groups: int) -> None:
    """Let the heads of all groups fail, to be tried again in an hour."""
    exchange = Exchange(store.new_link(), store.shards(QUEUE)[0], store.settings, "bench")
    left = groups
    while left:
        claim = exchange.request([], Counter(), min(_BATCH, left), -1).claim
        assert claim is not None
        failed = [
            Settlement(one.ref, one.token, one.id, Verb.RETRY, delay_ms=_HOUR_MS) for one in claim.leases
        ]
        exchange.request(failed, Counter(), 0, -1)
        left -= len(failed)
    exchange.disconnect()


def _limited_groups(store: Store) -> None:
    store.limits.set("slow", rates=(Rate.parse("1/1h"),))
    _send(store, (_message(f"m{number}", f"g{number % GROUPS}", actor="slow") for number in range(MANY)))
    exchange = Exchange(store.new_link(), store.shards(QUEUE)[0], store.settings, "bench")
    claims = [exchange.request([], Counter(), 1, -1).claim for _ in range(GROUPS // _BATCH + 2)]
    assert claims[-1] is not None
    assert not claims[-1].more
    exchange.disconnect()


_BACKLOGS: Final[dict[str, Callable[[Store], None]]] = {
    "nothing": lambda store: None,
    f"{MANY:,} messages of one group in backoff": _one_group,
    f"{MANY:,} messages of {GROUPS:,} groups in backoff": _blocked_groups,
    f"{MANY:,} messages of {GROUPS:,} groups behind a limit": _limited_groups,
    f"{MANY:,} messages of {GROUPS:,} ready groups": _many_groups,
}

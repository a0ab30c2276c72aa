"""Each measurement: what is set up, what is timed, what is returned."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.order import Verdict, check
from benchmarks.processes import BenchFailed, wait_for, workers
from benchmarks.records import Reader, body
from benchmarks.senders import Sender
from benchmarks.server import Server

PROCESSES: Final = 2
THREADS: Final = 8
PAYLOAD_BYTES: Final = 100
BATCH: Final = 1000
#: Seconds without a new run after which a drain is over, whatever is missing.
_STALLED: Final = 15.0
#: Samples before the ones that count, while connections open and code warms up.
_WARM_UP: Final = 10


@dataclass(frozen=True, slots=True)
class Drained:
    """One queue worked off."""

    rate: float  #: messages a second, from the first start to the last
    cpu_ms: float  #: of Redis, for 1,000 messages
    waiting_bytes: float  #: of Redis, for each message while it waited
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Enqueued:
    """Messages sent by one thread."""

    rate: float  #: messages a second
    cpu_ms: float  #: of Redis, for 1,000 messages


def drain(sender: Sender, server: Server, *, groups: int, messages: int) -> Drained:
    """Work off ``messages`` that wait in ``groups``, two processes of eight threads starting together."""
    _fresh(sender, server)
    plan = _plan(groups, messages)
    empty = server.usage()
    _send(sender, plan, BATCH)
    full = server.usage()
    with workers(
        sender.worker_module, server.url, processes=PROCESSES, threads=THREADS, capacity=2 * messages
    ) as reader:
        start = server.usage()
        _wait_until_drained(reader, messages)
        end = server.usage()
    runs = reader.runs()  # after the stop, so that a second run of the last messages is not missed
    times = sorted(run.at for run in runs)
    if len(times) < 2:
        raise BenchFailed(f"{sender.name} ran {len(times)} of {messages} messages")
    return Drained(
        rate=len(times) / (times[-1] - times[0]) * 1e9,
        cpu_ms=end.cpu_since(start) / messages * 1000,
        waiting_bytes=(full.bytes - empty.bytes) / messages,
        verdict=check(runs, plan),
    )


def enqueue(sender: Sender, server: Server, *, messages: int, batch: int) -> Enqueued:
    """Send ``messages`` to 1,000 groups, ``batch`` in a call; nobody takes them."""
    _fresh(sender, server)
    plan = _plan(min(1000, messages), messages)
    before, started = server.usage(), time.monotonic()
    _send(sender, plan, batch)
    took, after = time.monotonic() - started, server.usage()
    return Enqueued(rate=messages / took, cpu_ms=after.cpu_since(before) / messages * 1000)


def latencies(sender: Sender, server: Server, *, samples: int) -> list[float]:
    """Milliseconds from the enqueuing call to the actor's start, one message at a time, workers idle."""
    _fresh(sender, server)
    total = samples + _WARM_UP
    with workers(
        sender.worker_module, server.url, processes=PROCESSES, threads=THREADS, capacity=2 * total
    ) as reader:
        sent = []
        for number in range(total):
            text = body(0, number, PAYLOAD_BYTES)
            sent.append(time.monotonic_ns())
            sender.send(number, text)
            wait_for(
                lambda done=number + 1: reader.count() >= done,  # type: ignore[misc]
                lambda: f"{sender.name} left a message alone",
                interval=0.0005,
            )
            time.sleep(random.uniform(0.05, 0.15))  # idle again, and not in step with anything that polls
    started = {run.number: run.at for run in reader.runs()}
    return [(started[number] - sent[number]) / 1e6 for number in range(_WARM_UP, total)]


def idle_commands(sender: Sender, server: Server, *, settle: float, watch: float) -> float:
    """Commands a second that one idle worker process sends, counted for ``watch`` seconds."""
    _fresh(sender, server)
    with workers(sender.worker_module, server.url, processes=1, threads=THREADS, capacity=100) as reader:
        sender.send(0, body(0, 0, PAYLOAD_BYTES))
        wait_for(lambda: reader.count() >= 1, lambda: f"{sender.name} left a message alone")
        time.sleep(settle)
        return server.commands_sent(watch) / watch


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that a ``share`` of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _fresh(sender: Sender, server: Server) -> None:
    """Start from nothing, but with connections open and scripts loaded."""
    server.empty()
    sender.send(0, body(0, 0, PAYLOAD_BYTES))
    server.empty()


def _plan(groups: int, messages: int) -> list[tuple[int, int]]:
    """Group and number of each message in the order of sending: groups take turns."""
    return [(place % groups, place // groups) for place in range(messages)]


def _send(sender: Sender, plan: Sequence[tuple[int, int]], batch: int) -> None:
    if batch == 1:
        for group, number in plan:
            sender.send(group, body(group, number, PAYLOAD_BYTES))
        return
    for first in range(0, len(plan), batch):
        sender.send_many(
            [(group, body(group, number, PAYLOAD_BYTES)) for group, number in plan[first : first + batch]]
        )


def _wait_until_drained(reader: Reader, messages: int) -> None:
    """Return when all ran, or when no more do; the check then says what is lost."""
    count, changed = 0, time.monotonic()
    while count < messages and time.monotonic() - changed < _STALLED:
        time.sleep(0.01)
        if (now := reader.count()) != count:
            count, changed = now, time.monotonic()

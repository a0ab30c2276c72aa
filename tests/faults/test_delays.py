"""Delayed messages beside many others, and over a time when nobody works."""

import time
from collections import defaultdict
from collections.abc import Callable

import pytest

from lockstep.envelope import encode
from lockstep.records import NewMessage
from lockstep.states import MessageState
from tests.history.checker import Outcome
from tests.history.events import Kind
from tests.support.fault_run import QUEUE, FaultRun
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

HOUR_MS = 3_600_000
MS = 1_000_000


def test_one_near_delay_among_ten_thousand_far_ones_is_on_time(run: FaultRun) -> None:
    run.start(2)
    for first in range(0, 10_000, 1000):
        run.store.enqueue(QUEUE, [far(run, number) for number in range(first, first + 1000)])
    sent = time.monotonic_ns()
    near = run.send_later("near", 700)
    started = run.wait_started(near).at
    assert started - sent >= 699 * MS
    assert run.store.counts(QUEUE).messages[MessageState.SCHEDULED] == 10_000


def far(run: FaultRun, number: int) -> NewMessage:
    message = run.actor.message(group=f"g{number}")
    payload = encode(message, run.broker.encoder)
    return NewMessage(id=message.message_id, actor="step", payload=payload, delay_ms=HOUR_MS)


def test_what_fell_due_while_nobody_worked_runs_in_due_order(make_run: Callable[..., FaultRun]) -> None:
    run = make_run()
    due: dict[str, list[str]] = defaultdict(list)
    for place in range(9, -1, -1):  # the last sent falls due first
        for group in ("a", "b", "c"):
            due[group].insert(0, run.send_later(group, 100 + 400 * place))
    wait_for("all are due", lambda: all_are_due(run))
    run.start(2)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    starts = sorted(run.events(Kind.START), key=lambda event: event.at)
    for group, expected in due.items():
        assert [event.message for event in starts if event.group == group] == expected


def all_are_due(run: FaultRun) -> bool:
    (shard,) = run.store.shards(QUEUE)
    seconds, micros = map(int, run.store.command("TIME"))
    now_ms = seconds * 1000 + micros // 1000
    return int(run.store.command("ZCOUNT", shard.prefix + "scheduled", now_ms, "+inf")) == 0

"""Repeats and messages of which there is only one, under real workers: how often each really started."""

from typing import Any

import pytest

from lockstep.errors import NotFound
from lockstep.states import MessageState
from tests.history.events import Kind
from tests.support.fault_run import FaultRun
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


def _send(run: FaultRun, *, message_id: str | None = None, **options: Any) -> str:
    given = {"message_id": message_id} if message_id else {}
    kwargs = {"group": "g", "seconds": 0.05, **options.pop("step", {})}
    return str(run.actor.send_with_options(kwargs=kwargs, **given, **options).message_id)


def _starts(run: FaultRun) -> list[str | None]:
    return [event.message for event in run.events(Kind.START)]


def _left(run: FaultRun, name: str) -> list[str]:
    """What is in a hash of any shard of the queue."""
    return [
        bytes(field).decode()
        for shard in run.store.shards("default")
        for field in run.store.command("HKEYS", shard.prefix + name)
    ]


@pytest.mark.parametrize("shards", ["1", "4"])
def test_a_resend_after_done_and_forgotten_runs_once(make_run: Any, shards: str) -> None:
    run = make_run(RETENTION_DONE_COUNT="0", QUEUE_SHARDS=shards)
    run.start(2)
    first = [_send(run, message_id="order-1"), _send(run, idempotency_key="order-2")]
    wait_for("both are forgotten", lambda: len(run.events(Kind.END)) == 2 and run.unfinished() == 0)
    for message_id in first:
        with pytest.raises(NotFound):
            run.record_of(message_id)
    again = [_send(run, message_id="order-1"), _send(run, idempotency_key="order-2")]
    last = _send(run)  # behind them in their group: when it has run, so would they have
    wait_for("the last has run", lambda: len(run.events(Kind.END, last)) == 1)
    assert again == first
    assert _starts(run) == [*first, last]


@pytest.mark.parametrize("shards", ["1", "4"])
def test_until_finished_is_through_retries_and_a_killed_worker(make_run: Any, shards: str) -> None:
    run = make_run(QUEUE_SHARDS=shards)
    (worker,) = run.start()
    once: dict[str, Any] = {"unique": "until_finished", "unique_by": "{group}"}
    first = _send(run, **once, step={"failures": 1, "seconds": 3.0})
    run.wait_started(first)
    assert _send(run, **once) == first
    run.kill(worker, *worker.pids)
    assert _send(run, **once) == first
    run.start()
    run.wait_started(first, times=3)  # after the kill, and after its failure
    assert _send(run, **once) == first
    wait_for("it is done", lambda: run.record_of(first).state is MessageState.DONE)
    assert _left(run, "unique") == []
    second = _send(run, **once)
    wait_for("the second is done", lambda: run.record_of(second).state is MessageState.DONE)
    assert set(_starts(run)) == {first, second}
    assert _left(run, "unique") == []


def test_until_started_lets_one_more_wait(run: FaultRun) -> None:
    run.start()
    once: dict[str, Any] = {"unique": "until_started", "unique_by": "{group}"}
    first = _send(run, **once, step={"until": "over"})
    run.wait_started(first)
    second = _send(run, **once)
    assert second != first
    assert [_send(run, **once) for _ in range(5)] == [second] * 5
    (run.directory / "over").touch()
    wait_for("both are done", lambda: run.unfinished() == 0)
    assert _starts(run) == [first, second]
    assert _left(run, "unique") == []


def test_a_burst_for_a_period_runs_once(run: FaultRun) -> None:
    run.start()
    first = _send(run, unique="10m")
    wait_for("it is done", lambda: run.record_of(first).state is MessageState.DONE)
    assert {_send(run, unique="10m") for _ in range(20)} == {first}
    other = _send(run, unique="10m", step={"seconds": 0.01})
    wait_for("the other is done", lambda: run.record_of(other).state is MessageState.DONE)
    assert _starts(run) == [first, other]

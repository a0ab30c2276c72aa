"""Negative control: the same work and faults on plain Dramatiq, which the checker must call invalid."""

import pytest
from dramatiq.brokers.redis import RedisBroker

from tests.history.checker import Outcome, Verdict
from tests.history.events import Ending, FaultKind, Kind
from tests.support import steps
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


@pytest.fixture
def plain(make_run):
    """A run whose workers and producer are plain Dramatiq's, on the same server."""
    run = make_run(module="tests.support.plain_actors")
    broker = RedisBroker(url=run.environment["REDIS_URL"])
    actor = steps.declare(broker)

    def send(group: str, **arguments: object) -> str:
        message = actor.message(group=group, **arguments)
        facts = {"message": message.message_id, "group": group, "producer": "test"}
        run.sent.append(message.message_id)
        run.recorder.record(Kind.SENT, **facts)
        broker.enqueue(message)
        run.recorder.record(Kind.ACCEPTED, sequence=len(run.sent), **facts)
        return str(message.message_id)

    run.send = send
    yield run
    broker.close()


def _drain(run) -> Verdict:
    """Plain Dramatiq keeps no record of a message: it is done when its last run was."""

    def done() -> set[str]:
        return {event.message for event in run.events(Kind.END) if event.outcome == Ending.DONE}

    wait_for("everything is done", lambda: len(done()) == len(run.sent))
    for message_id in done():
        run.recorder.record(Kind.FINAL, message=message_id, outcome="done")
    run.recorder.record(Kind.DRAINED)
    return run.verdict()


def test_plain_retries_are_overtaken(plain):
    for number in range(4):
        plain.send(f"g{number}", failures=3)
        for _ in range(10):
            plain.send(f"g{number}")
    with plain.fault(FaultKind.FAILURE, "failures"):
        plain.start(2)
        verdict = _drain(plain)
    assert verdict.outcome is Outcome.INVALID
    assert {"I4", "I7"} <= verdict.invariants, verdict


def test_plain_runs_of_a_killed_worker_are_overtaken(plain):
    victim, _ = plain.start(2)
    for _ in range(12):
        for number in range(4):
            plain.send(f"g{number}", seconds=0.1)
    plain.wait_done(4)
    plain.wait_running(victim)
    plain.kill(victim, *victim.pids)
    verdict = _drain(plain)
    assert verdict.outcome is Outcome.INVALID
    assert {"I6", "I7"} <= verdict.invariants, verdict
    assert verdict.evidence["kill"] >= 1

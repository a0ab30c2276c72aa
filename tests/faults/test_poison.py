"""Messages that no actor can take."""

import pytest
from dramatiq import Message

from lockstep.envelope import current_encoder, encode
from lockstep.records import NewMessage
from tests.history.checker import Outcome
from tests.history.events import Kind
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("payload", [b"\xff\x00 no message", b"[1, 2]", b'{"queue_name": "default"}', b""])
def test_undecodable_bytes_are_dead_and_the_group_goes_on(run, payload):
    before = run.send("g")
    poison = run.send_raw(NewMessage(id="poison", actor="step", payload=payload, group="g"))
    behind = [run.send("g") for _ in range(5)]
    run.start()
    run.drain()
    record = run.record_of(poison)
    assert (record.state, record.reason, record.payload) == ("dead", "undecodable", payload)
    assert [event.message for event in run.events(Kind.START)] == [before, *behind]
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict


def test_unknown_actor_is_parked_until_a_newer_worker_knows_it(run):
    message = Message("default", "newer", (), {"group": "g"}, {"group": "g"}, "newer")
    payload = encode(message, current_encoder())
    newer = run.send_raw(NewMessage(id="newer", actor="newer", payload=payload, group="g"))
    behind = [run.send("g") for _ in range(3)]
    others = [run.send("other") for _ in range(3)]
    run.start()
    wait_for("it is parked", lambda: run.record_of(newer).state == "backoff")
    wait_for("other groups are done", lambda: all(run.record_of(one).state == "done" for one in others))
    assert not {event.message for event in run.events(Kind.START)} & {newer, *behind}
    run.workers[0].clear()
    run.start(ACTOR_MODULES="tests.support.newer_actors")
    run.drain()
    assert [event.message for event in run.events(Kind.START) if event.group == "g"] == [newer, *behind]
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict


def test_actor_that_stays_unknown_is_dead(make_run):
    run = make_run(UNKNOWN_ACTOR_SECONDS="1")
    message = Message("default", "gone", (), {}, {}, "gone")
    gone = run.send_raw(
        NewMessage(id="gone", actor="gone", payload=encode(message, current_encoder()), group="g")
    )
    behind = run.send("g")
    run.start()
    run.drain()
    assert (run.record_of(gone).state, run.record_of(gone).reason) == ("dead", "unknown_actor")
    assert [event.message for event in run.events(Kind.START)] == [behind]
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict

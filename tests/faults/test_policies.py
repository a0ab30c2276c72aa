"""Priorities, delays that hold their place, paused actors and groups with several at once, under real workers."""

import pytest

from lockstep.states import GroupState, MessageState
from tests.history.checker import Outcome
from tests.history.events import Kind
from tests.history.windows import most_at_once
from tests.support.fault_run import QUEUE, FaultRun
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults


def test_the_first_priority_goes_first_and_the_last_does_not_starve(run: FaultRun) -> None:
    for number in range(80):
        run.send_with(f"low{number}", {"priority": 9}, seconds=0.02)
    for number in range(80):
        run.send(f"top{number}", seconds=0.02)
    run.start(2)
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    started = [event.group or "" for event in sorted(run.events(Kind.START), key=lambda event: event.at)]
    first = started[:80]
    assert sum(group.startswith("top") for group in first) >= 60
    assert sum(group.startswith("low") for group in first) >= 5


def test_a_delayed_message_that_holds_its_place_is_waited_for(run: FaultRun) -> None:
    run.start(2)
    first = run.send("g")
    held = run.send_with("g", {"hold_place": True}, delay_ms=2000)
    behind = [run.send("g") for _ in range(5)]
    other = run.send("other")
    run.drain()
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    order = [event.message for event in sorted(run.events(Kind.START), key=lambda event: event.at)]
    assert [one for one in order if one != other] == [first, held, *behind]
    assert order.index(other) < order.index(held)


def test_a_paused_actor_starts_nowhere_until_it_is_resumed(run: FaultRun) -> None:
    run.start(2)
    run.store.limits.pause_actor("step")
    for number in range(20):
        run.send(f"g{number % 4}")
    wait_for("all wait", lambda: run.store.counts(QUEUE).groups[GroupState.BLOCKED] == 4)
    assert run.events(Kind.START) == []
    run.store.limits.resume_actor("step")
    run.drain()
    assert run.verdict().outcome is Outcome.VALID


def test_no_more_of_a_group_run_at_once_than_it_allows(run: FaultRun) -> None:
    run.actor.options["group_concurrency"] = 3
    for number in range(40):
        run.send("ab"[number % 2], seconds=0.05)
    run.start(2)
    run.drain()
    ends = {event.run: event.at for event in run.events(Kind.END)}
    for group in ("a", "b"):
        spans = [(event.at, ends[event.run]) for event in run.events(Kind.START) if event.group == group]
        assert len(spans) == 20
        assert most_at_once(spans) == 3
    assert run.store.counts(QUEUE).messages[MessageState.DONE] == 40

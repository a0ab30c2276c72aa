"""Whatever history an orderly system writes is valid; whatever is then done to it is noticed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.history.checker import Outcome, check
from tests.history.events import Ending, Event, FaultKind, Kind, Write
from tests.history.story import Story

#: For each message of a group, how its runs end before the one that is done.
Plan = list[list[list[str]]]
plans = st.lists(
    st.lists(st.lists(st.sampled_from(["failed", "crashed", "killed"]), max_size=2), min_size=2, max_size=4),
    min_size=1,
    max_size=3,
)


def orderly(plan: Plan) -> list[Event]:
    """What a system without faults of its own records for a plan: groups in parallel, each in order."""
    story = Story()
    for group, messages in enumerate(plan):
        story.send(*(f"{group}-{place}" for place in range(len(messages))), group=str(group))
    process = 0
    for group, messages in enumerate(plan):
        clock, fence = 10 + group, 0
        for place, endings in enumerate(messages):
            for ending in [*endings, "done"]:
                clock, fence, process = clock + 20, fence + 1, process + 1
                _run(story, f"{group}-{place}", (fence, clock, process), ending)
    return story.done().events


def _run(story: Story, id_: str, counters: tuple[int, int, int], ending: str) -> None:
    fence, clock, pid = counters
    if ending == "killed":
        story.run(id_, fence, clock, pid=pid).fault(FaultKind.KILL, clock + 5, clock + 5, pid)
    else:
        effects = {Write.APPLIED: clock + 2} if ending == "done" else {}
        story.run(id_, fence, clock, clock + 10, pid=pid, ending=Ending(ending), effects=effects)


def last_runs(events: list[Event]) -> dict[str, str]:
    return {event.message: event.run for event in events if event.event is Kind.START}


@given(plans)
def test_an_orderly_history_is_valid(plan):
    verdict = check(orderly(plan))
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.extra_runs == sum(len(endings) for group in plan for endings in group)


@given(plans, st.data())
def test_a_message_that_vanishes_is_noticed(plan, data):
    events = orderly(plan)
    lost = data.draw(st.sampled_from(sorted(last_runs(events))))
    kept = [event for event in events if event.message != lost or event.event in {Kind.SENT, Kind.ACCEPTED}]
    assert check(kept).invariants >= {"I1"}


@given(plans, st.data())
def test_a_run_too_many_is_noticed(plan, data):
    events = orderly(plan)
    run = data.draw(st.sampled_from(sorted(last_runs(events).values())))
    again = [
        replace(event, run="again", at=event.at + 10**12, fence=(event.fence or 0) + 1000)
        for event in events
        if event.run == run and event.event is not Kind.EFFECT
    ]
    assert check([*events, *again]).invariants >= {"I9"}


@given(plans, st.data())
def test_two_messages_of_a_group_that_swap_are_noticed(plan, data):
    events = orderly(plan)
    group = data.draw(st.integers(0, len(plan) - 1))
    swap = {f"{group}-0": f"{group}-1", f"{group}-1": f"{group}-0"}
    runs = {Kind.START, Kind.EFFECT, Kind.END}
    swapped = [
        replace(event, message=swap[event.message], sequence=None)
        if event.event in runs and event.message in swap
        else event
        for event in events
    ]
    assert check(swapped).invariants >= {"I6"}


@given(plans, st.data())
def test_a_run_that_outlasts_its_end_is_noticed(plan, data):
    events = orderly(plan)
    group = data.draw(st.integers(0, len(plan) - 1))
    first = last_runs(events)[f"{group}-0"]
    longer = [
        replace(event, at=event.at + 10**10) if event.run == first and event.event is Kind.END else event
        for event in events
    ]
    assert check(longer).invariants >= {"I4", "I7"}

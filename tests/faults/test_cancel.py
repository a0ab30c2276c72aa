"""Messages that are cancelled while worker processes run them."""

import pytest

from lockstep.states import MessageState
from tests.history.checker import Outcome
from tests.history.events import Ending, Kind

pytestmark = pytest.mark.faults

#: Seconds until an actor hears that its message is cancelled: a look of the reaper, and what two busy cores may add.
HEARD = 0.5 + 1.0


@pytest.mark.parametrize(("heeds", "grace"), [(True, 60.0), (False, 0.5)], ids=["it looks", "interrupted"])
def test_a_running_message_is_cancelled_and_its_group_waits_for_its_end(make_run, heeds, grace):
    run = make_run(LEASE_SECONDS="30", CANCEL_GRACE=str(grace))
    run.start(2)
    first, second = run.send("g", seconds=60.0, heeds=heeds), run.send("g")
    other = run.send("h", seconds=3.0)
    run.wait_started(first)
    asked = run.store.switches.cancel(first)
    assert asked.cancel_requested
    run.drain()
    assert run.record_of(first).state is MessageState.CANCELLED
    assert [attempt.outcome for attempt in run.record_of(first).attempts] == ["cancelled"]
    assert run.record_of(second).state is run.record_of(other).state is MessageState.DONE
    (end,) = run.events(Kind.END, first)
    (after,) = run.events(Kind.START, second)
    assert end.outcome == Ending.INTERRUPTED
    assert end.at < after.at
    took = (end.at - run.events(Kind.START, first)[0].at) / 1e9
    assert took < HEARD + (0 if heeds else grace) + 20  # far less than the lease or the actor would last
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict


def test_a_cancelled_message_whose_worker_is_killed_never_runs_again(run):
    victim = run.start()[0]
    first, second = run.send("g", seconds=60.0), run.send("g")
    run.wait_started(first)
    run.store.switches.cancel(first)
    run.kill(victim, *victim.pids)
    run.start()
    run.drain()
    assert run.record_of(first).state is MessageState.CANCELLED
    assert run.record_of(second).state is MessageState.DONE
    assert len(run.events(Kind.START, first)) == 1
    verdict = run.verdict()
    assert verdict.outcome is Outcome.VALID, verdict

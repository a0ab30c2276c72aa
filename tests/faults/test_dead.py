"""Dead letters of real workers: redriven to their places, and groups that wait for an operator."""

import pytest

from lockstep.deadletters import DeadFilter, Redrive
from lockstep.errors import WrongState
from tests.history import checks
from tests.history.events import Kind, read
from tests.history.history import Bounds, History
from tests.support import steps
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

#: What holds although messages end twice.
ALWAYS = (
    checks.no_loss,
    checks.fences_rise,
    checks.runs_disjoint,
    checks.fence_guards,
    checks.one_completion,
)


def starts(run):
    return [event.message for event in run.events(Kind.START) if event.group == "g"]


def send_broken(run, **options):
    arguments = {"group": "g", "broken": True}
    return run.submit(run.actor.message_with_options(kwargs=arguments, **options), "g")


def check_always(run):
    history, bounds = History(read(steps.history_of(run.directory))), Bounds(lease=2.0, drain=20.0)
    assert [violation for check in ALWAYS for violation in check(history, bounds)] == []


@pytest.mark.parametrize("order", ["head", "tail"])
def test_dead_letters_are_redriven_where_they_belong(make_run, order):
    run = make_run(MAX_ATTEMPTS="2")
    dead = [send_broken(run) for _ in range(3)]
    others = [run.send("g", seconds=0.3) for _ in range(6)]
    run.start(2)
    run.wait_started(others[0])
    assert [run.record_of(one).state for one in dead] == ["dead"] * 3
    steps.repair(run.directory)
    begun = len(set(starts(run)) & set(others))
    assert run.store.dead.redrive(DeadFilter(actor="step"), Redrive(order=order)).changed == 3
    begun_then = len(set(starts(run)) & set(others))
    run.drain()
    assert starts(run)[:6] == [one for one in dead for _ in range(2)]
    after = starts(run)[6:]
    if order == "tail":
        assert after == [*others, *dead]
    else:
        place = after.index(dead[0])
        assert begun <= place <= begun_then
        assert after == [*others[:place], *dead, *others[place:]]
    assert all(run.record_of(one).state == "done" for one in [*dead, *others])
    assert [len(run.record_of(one).attempts) for one in dead] == [3] * 3
    check_always(run)


@pytest.mark.parametrize("act", ["redrive", "skip", "discard"])
def test_a_group_whose_head_died_waits_for_an_operator(make_run, act):
    run = make_run(MAX_ATTEMPTS="2")
    before = run.send("g")
    blocking = send_broken(run, on_dead="block")
    behind = [run.send("g") for _ in range(3)]
    run.start(2)
    wait_for("it is dead", lambda: run.record_of(blocking).state == "dead")
    elsewhere = [run.send(f"other{number % 5}", seconds=0.05) for number in range(50)]
    wait_for("others go on", lambda: all(run.record_of(one).state == "done" for one in elsewhere))
    assert starts(run) == [before, blocking, blocking]
    assert run.store.counts("default").groups["blocked"] == 1
    steps.repair(run.directory)
    if act == "redrive":
        assert run.store.dead.redrive([blocking], Redrive()).changed == 1
    elif act == "discard":
        assert run.store.dead.discard([blocking]).changed == 1
        run.sent.remove(blocking)
    else:
        assert run.store.dead.skip("default", "g") == blocking
    run.drain()
    again = [blocking] if act == "redrive" else []
    assert starts(run) == [before, blocking, blocking, *again, *behind]
    if act != "discard":
        assert run.record_of(blocking).state == ("done" if act == "redrive" else "dead")
        check_always(run)


def test_skip_takes_a_head_that_backs_off_but_none_that_runs(make_run):
    run = make_run(BACKOFF="fixed:1h")
    failing = send_broken(run)
    slow, last = run.send("g", until="skipped"), run.send("g")
    run.start()
    wait_for("it backs off", lambda: run.record_of(failing).state == "backoff")
    assert run.store.dead.skip("default", "g") == failing
    run.wait_started(slow)
    with pytest.raises(WrongState):
        run.store.dead.skip("default", "g")
    (run.directory / "skipped").touch()
    run.drain()
    assert starts(run) == [failing, slow, last]
    record = run.record_of(failing)
    assert (record.state, record.reason, record.death.error) == ("dead", "skipped", "skipped")

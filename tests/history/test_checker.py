"""Each invariant has a history that keeps it and one that breaks it, and the checker tells them apart."""

import pytest

from tests.history.checker import Outcome, check
from tests.history.events import Ending, FaultKind, Kind
from tests.history.story import Story


def calm() -> Story:
    """Two messages of a group and one of another, handled as they should be."""
    return (
        Story()
        .send("a", "b")
        .send("x", group="h")
        .run("a", 1, 10, 20)
        .run("x", 1, 15, 25, pid=2)
        .run("b", 2, 30, 40)
    )


def broken(story: Story, **bounds: float) -> set[str]:
    verdict = story.verdict(**bounds)
    assert (verdict.outcome is Outcome.INVALID) == bool(verdict.violations)
    return verdict.invariants


def test_a_calm_history_is_valid():
    verdict = calm().done(completed=3).verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert (verdict.runs, verdict.extra_runs) == (3, 0)


def test_an_empty_history_is_invalid_because_nothing_was_drained():
    assert check([]).invariants == {"I16"}


def test_i1_a_message_without_a_final_state_is_lost():
    assert broken(calm().done("a", "x")) >= {"I1"}


@pytest.mark.parametrize("state", ["waiting", "running", "backoff", "scheduled"])
def test_i1_a_message_that_is_not_finished_at_the_end_is_lost(state):
    assert "I1" in broken(calm().done("a", "x").final("b", state))


def test_i1_an_unanswered_message_may_be_missing():
    assert broken(calm().send("u", at=50, answered=False).done("a", "b", "x")) == set()


def test_i1_an_unanswered_message_that_ran_must_end():
    story = calm().send("u", at=50, answered=False).run("u", 3, 60, 70)
    assert broken(story.done("a", "b", "x")) == {"I1"}


def test_i2_a_run_that_nobody_sent_is_a_phantom():
    story = calm().run("ghost", 3, 50, 60, group="g", sequence=9).done("a", "b", "x").final("ghost", "done")
    assert broken(story) == {"I2"}


def test_i2_a_run_in_another_group_is_a_phantom():
    story = Story().send("a").run("a", 1, 10, 20, group="elsewhere").done()
    assert broken(story) == {"I2"}


def test_i2_a_run_with_another_sequence_is_a_phantom():
    assert broken(Story().send("a").run("a", 1, 10, 20, sequence=7).done()) == {"I2"}


@pytest.mark.parametrize("fence", [2, 1])
def test_i3_a_fence_that_does_not_rise(fence):
    story = Story().send("a", "b").run("a", 2, 10, 20).run("b", fence, 30, 40).done()
    assert broken(story) == {"I3"}


def test_i3_each_group_has_fences_of_its_own():
    story = Story().send("a").send("x", group="h").run("a", 9, 10, 20).run("x", 1, 30, 40).done()
    assert broken(story) == set()


def test_i4_two_runs_of_a_group_at_once():
    story = Story().send("a", "b").run("a", 1, 10, 20).run("b", 2, 15, 40, pid=2).done()
    assert broken(story) == {"I4", "I7"}


def test_i4_runs_of_different_groups_may_overlap():
    assert (
        broken(Story().send("a").send("x", group="h").run("a", 1, 10, 50).run("x", 2, 15, 40).done()) == set()
    )


def test_i4_runs_without_a_group_may_overlap():
    assert broken(Story().send("a", "b", group=None).run("b", 1, 10, 50).run("a", 1, 15, 40).done()) == set()


def test_i4_a_run_that_never_ended_overlaps_what_follows():
    story = Story().send("a", "b").run("a", 1, 10).run("b", 2, 30, 40).done()
    assert "I4" in broken(story)


def paused(since: float = 15, until: float = 4_000) -> Story:
    """The first run is paused past its lease; another process finishes its message and the next one."""
    story = Story().send("a", "b").fault(FaultKind.PAUSE, since, until, 1)
    story.run("a", 1, 10, until + 10, ending=Ending.INTERRUPTED, effects={"refused": until + 5})
    story.run("a", 2, 3_100, 3_200, pid=2, effects={"applied": 3_150})
    return story.run("b", 3, 3_300, 3_400, pid=2, effects={"applied": 3_350})


def test_i4_a_paused_holder_may_overlap_if_the_fence_refuses_it():
    verdict = paused().done().verdict()
    assert verdict.outcome is Outcome.VALID, verdict
    assert verdict.evidence == {"fault": 1}


def test_i4_a_short_pause_excuses_nothing():
    story = Story().send("a").fault(FaultKind.PAUSE, 15, 1_000, 1)
    story.run("a", 1, 10, 1_100).run("a", 2, 900, 950, pid=2)
    assert broken(story.done()) == {"I4", "I9"}


def test_i4_a_cut_off_holder_may_not_overlap():
    story = Story().send("a").fault(FaultKind.CUT, 15, 4_000, 1)
    story.run("a", 1, 10, 4_100, ending=Ending.INTERRUPTED).run("a", 2, 3_100, 3_200, pid=2)
    assert broken(story.done()) == {"I4"}


def test_i4_a_stale_write_that_counts():
    story = Story().send("a", "b").fault(FaultKind.PAUSE, 15, 4_000, 1)
    story.run("a", 1, 10, 4_010, ending=Ending.INTERRUPTED, effects={"applied": 4_005})
    story.run("a", 2, 3_100, 3_200, pid=2).run("b", 3, 3_300, 3_400, pid=2, effects={"applied": 3_350})
    assert broken(story.done()) >= {"I4"}


def test_i4_a_write_that_counts_twice():
    story = Story().send("a").run("a", 1, 10, 20, effects={"applied": 15}, ending=Ending.FAILED)
    story.run("a", 2, 30, 40, effects={"applied": 35})
    assert broken(story.done()) == {"I4"}


def test_i4_a_write_that_never_counts():
    assert broken(Story().send("a").run("a", 1, 10, 20, effects={"refused": 15}).done()) == {"I4"}


def test_i4_a_repeated_write_counts_once():
    story = Story().send("a").run("a", 1, 10, 20, effects={"applied": 15}, ending=Ending.FAILED)
    assert broken(story.run("a", 2, 30, 40, effects={"repeated": 35}).done()) == set()


def test_i5_one_producer_whose_sequences_fall():
    story = Story().send("a", sequence=2).send("x", group="h", at=1, sequence=1)
    story.run("a", 1, 10, 20).run("x", 1, 10, 20, pid=2)
    assert broken(story.done()) == {"I5"}


def test_i5_a_group_accepted_out_of_order_by_two_producers():
    story = Story().send("b", at=5, sequence=1, producer="q").send("a", sequence=2)
    assert broken(story.run("b", 1, 10, 20).run("a", 2, 30, 40).done()) == {"I5"}


def test_i5_producers_that_race_may_be_accepted_in_any_order():
    story = Story().add(Kind.SENT, 0, message="a", group="g", producer="p")
    story.add(Kind.SENT, 1, message="b", group="g", producer="q")
    story.add(Kind.ACCEPTED, 2, message="b", group="g", producer="q", sequence=1)
    story.add(Kind.ACCEPTED, 3, message="a", group="g", producer="p", sequence=2)
    story.groups, story.sequences = {"a": "g", "b": "g"}, {"a": 2, "b": 1}
    assert broken(story.run("b", 1, 10, 20).run("a", 2, 30, 40).done()) == set()


def test_i5_a_duplicate_answers_with_its_first_sequence():
    story = calm().add(Kind.ACCEPTED, 50, message="a", group="g", producer="p", sequence=1, duplicate=True)
    assert broken(story.done()) == set()


def test_i6_first_starts_out_of_sequence():
    story = Story().send("a", "b").run("b", 1, 10, 20).run("a", 2, 30, 40).done()
    assert broken(story) == {"I6"}


def test_i6_a_delayed_message_has_the_sequence_of_its_due_time():
    story = Story().send("a").send("b").add(Kind.SENT, 0, message="d", group="g", producer="p", delay_ms=20)
    story.add(Kind.ACCEPTED, 1, message="d", group="g", producer="p")
    story.groups["d"] = "g"
    story.run("a", 1, 10, 15).run("b", 2, 16, 20).run("d", 3, 30, 40, sequence=3)
    assert broken(story.done("a", "b", "d")) == set()


def test_i6_effects_out_of_sequence():
    story = Story().send("a", "b")
    story.run("a", 1, 10, 40, effects={"applied": 35}).run("b", 2, 20, 30, pid=2, effects={"applied": 25})
    assert "I6" in broken(story.done())


def test_i7_a_message_that_overtakes_a_retry():
    story = Story().send("a", "b").run("a", 1, 10, 20, ending=Ending.FAILED).run("b", 2, 30, 40)
    assert broken(story.run("a", 3, 50, 60).done()) == {"I7"}


def test_i7_a_message_that_overtakes_a_killed_one():
    story = Story().send("a", "b").fault(FaultKind.KILL, 15, 15, 1).run("a", 1, 10)
    story.run("b", 2, 30, 40, pid=2).run("a", 3, 50, 60, pid=2)
    assert broken(story.done()) == {"I7"}


def test_i7_a_retry_that_keeps_its_place():
    story = Story().send("a", "b").run("a", 1, 10, 20, ending=Ending.FAILED).run("a", 2, 30, 40)
    assert broken(story.run("b", 3, 50, 60).done()) == set()


def test_i7_a_message_behind_one_that_never_ends():
    story = Story().send("a", "b").run("a", 1, 10, 20, ending=Ending.FAILED).run("b", 2, 30, 40)
    assert broken(story.done("b").final("a", "backoff")) == {"I1", "I7"}


def test_i7_a_dead_letter_lets_the_next_go_on():
    story = Story().send("a", "b").run("a", 1, 10, 20, ending=Ending.PERMANENT).run("b", 2, 30, 40)
    assert broken(story.done("b").final("a", "dead", attempts=1, error="Permanent: no")) == set()


def test_i7_what_redis_forgot_is_done_again():
    story = Story().send("a", "b").fault(FaultKind.TAIL, 5, 50).run("a", 1, 10, 20).run("b", 2, 30, 40)
    story.run("a", 3, 60, 70).run("b", 4, 80, 90).add(Kind.BIT, 50, name="fault")
    verdict = story.done().verdict()
    assert verdict.outcome is Outcome.VALID, verdict


def test_i7_a_message_that_overtakes_another_behind_a_forgotten_tail():
    story = Story().send("a", "b").fault(FaultKind.TAIL, 5, 50).run("a", 1, 10, 20)
    story.run("a", 2, 60, 70, ending=Ending.FAILED).run("b", 3, 80, 90).run("a", 4, 100, 110)
    assert broken(story.done()) == {"I7"}


def test_i7_a_forgotten_tail_excuses_nothing_before_it():
    story = Story().send("a", "b").fault(FaultKind.TAIL, 5, 500).run("a", 1, 10, 20, ending=Ending.FAILED)
    story.run("b", 2, 30, 40).run("a", 3, 50, 60).run("b", 4, 600, 700)
    assert broken(story.done()) == {"I7"}


def test_i8_two_final_states():
    assert broken(calm().done().final("a", "dead", attempts=1)) == {"I8"}


def test_i8_completed_by_accident():
    story = Story().send("a").run("a", 1, 10, 20, ending=Ending.FAILED)
    assert broken(story.done()) == {"I8"}


def test_i8_completed_without_a_run():
    assert broken(Story().send("a").done()) == {"I8"}


def test_i8_counted_twice_by_the_store():
    assert broken(calm().done(completed=4)) == {"I8"}


def test_i9_a_second_run_without_a_cause():
    assert broken(Story().send("a").run("a", 1, 10, 20).run("a", 2, 30, 40).done()) == {"I9"}


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.CRASHED])
def test_i9_a_failure_explains_a_second_run(ending):
    assert broken(Story().send("a").run("a", 1, 10, 20, ending=ending).run("a", 2, 30, 40).done()) == set()


@pytest.mark.parametrize(
    ("kind", "explains"), [(kind, kind not in {"noise", "failure", "crash"}) for kind in FaultKind]
)
def test_i9_what_a_fault_during_an_interrupted_run_explains(kind, explains):
    story = Story().send("a").fault(kind, 15, 2_500, 1).run("a", 1, 10, 20, ending=Ending.INTERRUPTED)
    story.run("a", 2, 3_100, 3_200, pid=2)
    assert broken(story.done()) == (set() if explains or kind == "crash" else {"I9"})


@pytest.mark.parametrize("kind", [FaultKind.KILL, FaultKind.PAUSE, FaultKind.CUT, FaultKind.STOP])
def test_i9_a_fault_of_another_process_explains_nothing(kind):
    story = Story().send("a").fault(kind, 15, 2_500, 7).run("a", 1, 10, 20, ending=Ending.INTERRUPTED)
    assert broken(story.run("a", 2, 3_100, 3_200, pid=2).done()) == {"I9"}


def test_i9_a_kill_between_the_end_of_a_run_and_its_settle():
    story = Story().send("a").fault(FaultKind.KILL, 25, 25, 1).run("a", 1, 10, 20)
    assert broken(story.run("a", 2, 3_100, 3_200, pid=2).done()) == set()


def test_i9_a_kill_long_after_the_run_explains_nothing():
    story = Story().send("a").fault(FaultKind.KILL, 2_000, 2_000, 1).run("a", 1, 10, 20)
    assert broken(story.run("a", 2, 3_100, 3_200, pid=2).done()) == {"I9"}


def test_i9_one_kill_explains_one_run():
    story = Story().send("a").fault(FaultKind.KILL, 15, 15, 1).run("a", 1, 10)
    story.run("a", 2, 30, 40, pid=2).run("a", 3, 50, 60, pid=2)
    assert broken(story.done()) == {"I9"}


def test_i9_a_stop_does_not_explain_a_second_run_of_a_finished_one():
    story = (
        Story().send("a").fault(FaultKind.STOP, 15, 2_000, 1).run("a", 1, 10, 20).run("a", 2, 30, 40, pid=2)
    )
    assert broken(story.done()) == {"I9"}


def test_i11_a_retry_before_its_time():
    story = Story().send("a").run("a", 1, 10, 20, ending=Ending.FAILED, retry_ms=100)
    assert broken(story.run("a", 2, 119, 130).done()) == {"I11"}


def test_i11_a_retry_at_its_time():
    story = Story().send("a").run("a", 1, 10, 20, ending=Ending.FAILED, retry_ms=100)
    assert broken(story.run("a", 2, 120, 130).done()) == set()


@pytest.mark.parametrize(("since", "expected"), [(99, {"I12"}), (101, set())])
def test_i12_a_delayed_message_waits(since, expected):
    assert broken(Story().send("a", delay_ms=100).run("a", 1, since, 200).done()) == expected


@pytest.mark.parametrize(
    "lost",
    [{"group": "h"}, {"sequence": 9}, {"attempts": 0}, {"error": ""}, {"group": None, "sequence": None}],
)
def test_i13_a_dead_letter_that_forgot_something(lost):
    story = Story().send("a").run("a", 1, 10, 20, ending=Ending.FAILED).add(Kind.DRAINED, 10_000)
    assert broken(story.final("a", "dead", **{"attempts": 1, "error": "ValueError: no", **lost})) == {"I13"}


@pytest.mark.parametrize(("at", "expected"), [(1_900, set()), (2_100, {"I16"})])
def test_i16_drained_within_the_bound_after_the_last_fault(at, expected):
    story = Story().send("a").fault(FaultKind.FAILURE, 0, 1_000).run("a", 1, 10, 20, ending=Ending.FAILED)
    assert broken(story.run("a", 2, 30, 40).done(at=at), drain=1) == expected


def test_i16_never_drained():
    assert broken(calm().final("a", "done").final("b", "done").final("x", "done")) == {"I16"}


def test_unknown_when_a_fault_never_bit():
    verdict = calm().fault(FaultKind.KILL, 500, 500, 1).done().verdict()
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.evidence == {"fault": 0}


def test_unknown_when_one_of_two_faults_never_bit():
    story = Story().send("a").fault(FaultKind.KILL, 15, 15, 1, name="kill").run("a", 1, 10)
    story.fault(FaultKind.OUTAGE, 500, 600, name="redis").run("a", 2, 30, 40, pid=2).done()
    assert story.verdict().outcome is Outcome.UNKNOWN


def test_valid_when_one_of_several_faults_of_a_name_bit():
    story = Story().send("a").fault(FaultKind.KILL, 15, 15, 1).fault(FaultKind.KILL, 500, 500, 2)
    assert story.run("a", 1, 10).run("a", 2, 30, 40, pid=2).done().verdict().outcome is Outcome.VALID


def test_valid_when_the_injector_saw_its_fault_bite():
    story = calm().fault(FaultKind.NOISE, 5, 50, name="flush").add(Kind.BIT, 20, name="flush").done()
    assert story.verdict().outcome is Outcome.VALID


def test_invalid_even_when_the_fault_never_bit():
    story = Story().send("a").fault(FaultKind.KILL, 500, 500, 9).run("a", 1, 10, 20).run("a", 2, 30, 40)
    assert story.done().verdict().outcome is Outcome.INVALID


def test_the_verdict_names_invariant_message_and_what_was_seen():
    verdict = Story().send("a").run("a", 1, 10, 20).run("a", 2, 30, 40).done().verdict()
    assert str(verdict).splitlines() == [
        "invalid: 2 runs, 1 extra, bites {}",
        "I9 a: ran again 0.020 s later, though it was done",
    ]

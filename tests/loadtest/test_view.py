"""What the end of a load test says."""

from dataclasses import replace

from rich.console import Console

from lockstep.loadtest.plan import Plan
from lockstep.loadtest.run import Phase, Run
from lockstep.loadtest.tally import Tally
from lockstep.loadtest.view import document, table, verdict

PLAN = Plan(rate=10, groups=2, duration=1, timeout=5)


def ended(plan: Plan = PLAN) -> Run:
    tally = Tally(2, elapsed=1.0, sent=10)
    tally.accepted = [5, 5]
    run = Run(plan, tally, Phase.OVER, drained=True)
    run.verdict.checked = 10
    return run


def test_in_order() -> None:
    run = ended()
    assert (
        verdict(run).plain
        == "In order: 10 messages in 2 groups: none lost, none doubled, each group in order"
    )
    assert document(run)["in_order"] is True
    console = Console(width=120, record=True)
    console.print(table(run))
    assert "10, 10.0 of 10 a second" in console.export_text()


def test_a_rate_that_was_not_reached_is_told() -> None:
    run = ended()
    run.tally.elapsed = 2.0
    assert verdict(run).plain.endswith("; the rate was not reached: 5.0 of 10 a second")


def test_not_drained() -> None:
    run = ended()
    run.verdict.unfinished = 3
    assert verdict(run).plain == "Not drained in 5 s: 3 unfinished"
    assert document(run)["in_order"] is False


def test_failed() -> None:
    run = ended(replace(PLAN, duration=2))
    run.verdict.report("lost", "m3 of g")
    run.tally.failed["ReadError"] += 2
    assert verdict(run).plain.splitlines() == [
        "Failed: 1 messages: lost",
        "2 requests failed",
        "10 messages were not accepted",
        "  lost: m3 of g",
    ]
    run.interrupted = True  # then nobody wanted the rest
    assert "not accepted" not in verdict(run).plain

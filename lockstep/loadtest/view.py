"""A run as people see it, and as programs do."""

from collections import Counter
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from lockstep.loadtest.latencies import PERCENTILES, Latencies
from lockstep.loadtest.run import Phase, Run

#: The part of its rate below which a run did not do what was asked.
_REACHED: Final = 0.95


def table(run: Run) -> Table:
    """All figures of a run, at any time of it."""
    tally, plan = run.tally, run.plan
    shown = Table(title=f"Load test {plan.run}: {run.phase.value}", show_header=False, title_justify="left")
    shown.add_column(style="bold")
    shown.add_column()
    _row(shown, "sent", f"{tally.sent} of {plan.total}; late {tally.late}, at most {tally.latest:.2f} s")
    _row(shown, "accepted", f"{tally.accepted_total}, {tally.rate:.1f} of {plan.rate:g} a second")
    _row(shown, "refused for now", _counted(tally.refused))
    _row(shown, "failed requests", _counted(tally.failed))
    _row(shown, "response", f"{_latencies(tally.response)}  from when it should have been sent")
    _row(shown, "request", f"{_latencies(tally.request)}  single requests")
    if tally.backlog is not None and run.phase is Phase.SENDING:
        _row(shown, "queue", f"{tally.queue}: {tally.done} done since the start, {tally.backlog} unfinished")
    checked = run.verdict.wait.count > 0
    wait, latency = (run.verdict.wait, run.verdict.latency) if checked else (tally.wait, tally.latency)
    of = f"of {wait.count} {'checked' if checked else 'sampled'}"
    _row(shown, "message wait", f"{_latencies(wait)}  until its start, {of}")
    _row(shown, "message latency", f"{_latencies(latency)}  until it is done, {of}")
    if run.phase in (Phase.CHECKING, Phase.OVER):
        _row(
            shown, "checked", f"{run.verdict.checked} records; extra attempts: {_counted(run.verdict.extra)}"
        )
    return shown


def verdict(run: Run) -> Text:
    """The end of it, in words."""
    if run.problems:
        lines = [*run.problems, *(f"  {example}" for example in run.verdict.examples)]
        return Text("Failed: " + "\n".join(lines), style="red")
    if not run.drained or run.verdict.unfinished:
        return Text(
            f"Not drained in {run.plan.timeout:g} s: {run.verdict.unfinished} unfinished", style="yellow"
        )
    kept = f"{run.verdict.checked} messages in {run.plan.groups} groups: none lost, none doubled, each group in order"
    notes = [" (ended early)"] if run.interrupted else []
    if run.tally.rate < _REACHED * run.plan.rate:
        notes.append(f"; the rate was not reached: {run.tally.rate:.1f} of {run.plan.rate:g} a second")
    return Text(f"In order: {kept}{''.join(notes)}", style="green")


def document(run: Run) -> dict[str, Any]:
    """The same for programs; durations in milliseconds."""
    tally, found = run.tally, run.verdict
    return {
        "run": run.plan.run,
        "in_order": not run.problems and run.drained and not found.unfinished,
        "problems": run.problems,
        "interrupted": run.interrupted,
        "drained": run.drained and not found.unfinished,
        "planned": run.plan.total,
        "sent": tally.sent,
        "late": tally.late,
        "latest_ms": round(tally.latest * 1000, 1),
        "accepted": tally.accepted_total,
        "replayed": tally.replayed,
        "refused": dict(tally.refused),
        "failed": dict(tally.failed),
        "seconds": round(tally.elapsed, 3),
        "rate": round(tally.rate, 1),
        "response_ms": tally.response.view(),
        "request_ms": tally.request.view(),
        "wait_ms": found.wait.view(),
        "latency_ms": found.latency.view(),
        "checked": found.checked,
        "unfinished": found.unfinished,
        "violations": dict(found.found),
        "extra_attempts": dict(found.extra),
        "examples": found.examples,
    }


def _row(shown: Table, name: str, text: str) -> None:
    shown.add_row(name, Text(text))


def _counted(counted: Counter[str]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in sorted(counted.items())) or "none"


def _latencies(latencies: Latencies) -> str:
    if not latencies.count:
        return "-"
    values = [f"p{percent} {latencies.percentile(percent):.0f}" for percent in PERCENTILES]
    return f"{', '.join(values)}, max {latencies.longest:.0f} ms"

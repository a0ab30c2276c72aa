"""``python -m benchmarks``: measure, print the table, exit 1 when the order broke or a message was lost."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.status import Status

from benchmarks import policies, report, scale
from benchmarks.rounds import QUICK, Plan, run_round, systems

#: Columns that the table needs; a pipe has fewer by default.
WIDTH: Final = 110


def main(
    messages: Annotated[int | None, typer.Option(min=100, help="Messages of one drain (20000).")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds; the median counts (3).")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short round, to see that all works.")] = False,
    costs: Annotated[bool, typer.Option("--policies", help="What the policies cost instead.")] = False,
    beside: Annotated[bool, typer.Option("--scale", help="What large backlogs cost instead.")] = False,
    appendonly: Annotated[bool, typer.Option("--appendonly", help="Redis keeps its data on disk.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="File to write everything to.")] = None,
) -> None:
    """Measure Lockstep beside plain Dramatiq on one embedded Redis."""
    given = {"messages": messages, "rounds": rounds, "appendonly": appendonly or None}
    changes = {name: value for name, value in given.items() if value is not None}
    plan = dataclasses.replace(QUICK if quick else Plan(), **changes)  # type: ignore[arg-type]
    progress, console = Console(stderr=True), Console()
    console.width = max(console.width, WIDTH)
    if beside:
        raise typer.Exit(_run_scale(plan, progress, console))
    if costs:
        raise typer.Exit(_run_policies(plan, progress, console))
    measured = []
    with systems(plan.appendonly) as (server, senders), progress.status("") as status:
        version = server.version()
        for number in range(1, plan.rounds + 1):
            tell = partial(_tell, status, number)
            measured.append(run_round(server, senders, plan, tell))
    found = report.rows(measured)
    console.print(report.table(found, plan))
    if json is not None:
        content = report.document(found, measured, plan, version)
        json.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    raise typer.Exit(0 if report.order_kept(found) else 1)


def _run_policies(plan: Plan, progress: Console, console: Console) -> int:
    with systems(plan.appendonly) as (server, _), progress.status("") as status:
        measured = policies.run(server, plan, status.update)
    console.print(policies.table(measured, plan))
    kept = all(one.verdict.clean for drained in measured.values() for one in drained)
    return 0 if kept else 1


def _run_scale(plan: Plan, progress: Console, console: Console) -> int:
    with systems(plan.appendonly) as (server, _), progress.status("") as status:
        measured = scale.run(server, status.update)
    console.print(scale.table(measured))
    return 0


def _tell(status: Status, number: int, text: str) -> None:
    status.update(f"round {number}: {text}")


if __name__ == "__main__":
    typer.run(main)

"""``lockstep fsck``: is what Redis holds consistent, and if not, mend it."""

from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Final

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from lockstep.cli.common import cell, err, folding_table, out, print_json, say, settings_with_redis
from lockstep.fsck import Finding, Report
from lockstep.store import Store

#: Findings that a table shows; --json has all.
_SHOWN: Final = 100

_COLUMNS: Final = ("queue", "what", "name", "where", "fault")


def fsck(
    queue: Annotated[str | None, typer.Option("--queue", help="Only this queue.", show_default=False)] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Check that everything stored fits together. Exits with 1 when something is wrong at the end."""
    with closing(Store.connect(settings_with_redis())) as store:
        report = _with_progress(lambda tell: store.fsck.run(queue, repair=repair, tell=tell))
    if json:
        print_json(report.view())
    else:
        _print(report, repair=repair)
    if report.left:
        raise typer.Exit(1)


def _with_progress(work: Callable[[Callable[[int], None] | None], Report]) -> Report:
    if not err.is_terminal:
        return work(None)
    columns = (SpinnerColumn(), TextColumn("checked {task.completed}"))
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=None)
        return work(lambda number: progress.update(task, completed=number))


def _print(report: Report, *, repair: bool) -> None:
    if repair and report.found:
        _print_table("Repaired", report.repaired)
    for what in report.unchecked:
        say(f"Not checked: {what}.")
    if report.left:
        _print_table("Wrong", report.left)
    elif report.found:
        out.print("All of it is repaired.")
    else:
        out.print(f"Nothing is wrong: {report.checked} things were checked.")


def _print_table(title: str, findings: list[Finding]) -> None:
    table = folding_table(*_COLUMNS, title=title)
    for finding in findings[:_SHOWN]:
        view = finding.view()
        table.add_row(*(cell(view[column]) for column in _COLUMNS))
    out.print(table)
    if len(findings) > _SHOWN:
        say(f"… and {len(findings) - _SHOWN} others: --json shows all")

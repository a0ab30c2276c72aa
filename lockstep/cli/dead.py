"""``lockstep dead``: dead letters listed, counted by kind, shown, redriven and discarded; and ``lockstep skip``."""

from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.prompt import Confirm

from lockstep.checks import check_group
from lockstep.cli.common import cell, err, folding_table, out, print_json, say, settings_with_redis
from lockstep.cli.deadfilter import (
    Actor,
    All,
    AsJson,
    DryRun,
    Error,
    Fingerprint,
    Group,
    Ids,
    Queue,
    Since,
    Text,
    Until,
    choose,
    filter_of,
)
from lockstep.cli.message import message
from lockstep.deadletters import Changed, DeadFilter, Redrive, each_page
from lockstep.deadrequests import parse_interval
from lockstep.deadviews import changed_view, kind_view, letter_view
from lockstep.store import Store

app = typer.Typer(help="Dead letters: list, count, show, redrive, discard.", no_args_is_help=True)

#: Seconds of work between two moves of the progress bar.
_STEP = 0.5


@app.command("list")
def list_dead(
    *,
    queue: Queue = None,
    actor: Actor = None,
    group: Group = None,
    error: Error = None,
    text: Text = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1)] = 50,
    json: AsJson = False,
) -> None:
    """List dead letters, the newest first."""
    wanted = filter_of(queue, actor, group, error, text, fingerprint, since, until)
    with closing(Store.connect(settings_with_redis())) as store:
        views = [letter_view(one) for one in each_page(store.dead, wanted, limit)]
    if json:
        print_json({"items": views})
        return
    columns = ("died_at", "id", "queue", "actor", "group", "error", "message", "redriven")
    _print_table("Dead letters", columns, views)


@app.command("summary")
def summary(queue: Queue = None, json: AsJson = False) -> None:
    """Count dead letters by actor, error and fingerprint, the most first."""
    with closing(Store.connect(settings_with_redis())) as store:
        views = [kind_view(one) for one in store.dead.summary(queue)]
    if json:
        print_json({"items": views})
        return
    columns = ("count", "queue", "actor", "error", "fingerprint", "newest_at", "example")
    rows = [view | {"example": view["example"]["message"] or view["example"]["id"]} for view in views]
    _print_table("Kinds of dead letters", columns, rows)


app.command("show")(message)


@app.command("redrive")
def redrive(
    ids: Ids = None,
    *,
    queue: Queue = None,
    actor: Actor = None,
    group: Group = None,
    error: Error = None,
    text: Text = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    order: Annotated[str, typer.Option(metavar="head|tail", help="End of their groups.")] = "tail",
    rate: Annotated[
        str | None, typer.Option(metavar="10/1s", help="One after the other; only to the tail.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many at most.", min=1, show_default=False)] = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Let dead letters live again, in their original order: those named, or all that match."""
    chosen = choose(ids, filter_of(queue, actor, group, error, text, fingerprint, since, until), everything)
    if order not in ("head", "tail"):
        raise typer.BadParameter("--order: expected head or tail")
    if rate is not None and order == "head":
        raise typer.BadParameter("--rate: only with --order tail")
    interval = 0.0 if rate is None else parse_interval(rate, "--rate")
    how = Redrive(order="head" if order == "head" else "tail", interval_ms=interval)
    with closing(Store.connect(settings_with_redis())) as store:

        def step(cursor: str | None, left: int | None, dry: bool) -> Changed:
            return store.dead.redrive(chosen, how, dry_run=dry, limit=left, cursor=cursor, seconds=_STEP)

        total = _in_steps(step, limit, "redriving", dry_run=dry_run, counts=isinstance(chosen, DeadFilter))
    _report(total, "redriven", dry_run=dry_run, json=json)


@app.command("discard")
def discard(
    ids: Ids = None,
    *,
    queue: Queue = None,
    actor: Actor = None,
    group: Group = None,
    error: Error = None,
    text: Text = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Forget dead letters for good: those named, or all that match."""
    chosen = choose(ids, filter_of(queue, actor, group, error, text, fingerprint, since, until), everything)
    with closing(Store.connect(settings_with_redis())) as store:

        def step(cursor: str | None, left: int | None, dry: bool) -> Changed:
            return store.dead.discard(chosen, dry_run=dry, cursor=cursor, seconds=_STEP)

        if not (yes or dry_run):
            matched = _loop(step, None, dry=True).matched
            _confirm(f"Discard {matched} dead letters for good?")
        total = _in_steps(step, None, "discarding", dry_run=dry_run, counts=isinstance(chosen, DeadFilter))
    _report(total, "discarded", dry_run=dry_run, json=json)


def skip(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)],
    group: Annotated[str, typer.Option("--group", help="The group.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Take the head off a group: it becomes a dead letter, and the group goes on without it."""
    check_group(group, "--group")
    with closing(Store.connect(settings_with_redis())) as store:
        message_id = store.dead.skip(queue, group)
    if json:
        print_json({"queue": queue, "group": group, "skipped": message_id})
    else:
        say(f"{queue}, group {group}: skipped {message_id}")


def _confirm(question: str) -> None:
    """Go on only when a person says so; what a program reads stays free of it."""
    try:
        agreed = Confirm.ask(question, console=err, default=False)
    except EOFError:
        agreed = False
    if not agreed:
        raise typer.Abort


Step = Callable[[str | None, int | None, bool], Changed]


def _in_steps(step: Step, limit: int | None, verb: str, *, dry_run: bool, counts: bool) -> Changed:
    """Do all of it, with a progress bar for people. Killed in between, the rest stays as it is."""
    if dry_run or not counts or not err.is_terminal:
        return _loop(step, limit, dry=dry_run)
    matched = _loop(step, limit, dry=True).matched
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(verb, total=matched)
        return _loop(step, limit, dry=False, tell=lambda done: progress.update(task, completed=done))


def _loop(step: Step, limit: int | None, *, dry: bool, tell: Callable[[int], None] | None = None) -> Changed:
    total, cursor = Changed(), None
    while True:
        left = None if limit is None else limit - total.matched
        one = step(cursor, left, dry)
        total.matched += one.matched
        total.changed += one.changed
        total.missing += one.missing
        if tell is not None:
            tell(total.matched)
        cursor = one.next_cursor
        if cursor is None or left == one.matched:
            return total


def _report(total: Changed, verb: str, *, dry_run: bool, json: bool) -> None:
    if json:
        view = changed_view(total, verb, dry_run=dry_run)
        del view["next_cursor"]
        print_json(view)
        return
    told = f"{total.matched} would be {verb}" if dry_run else f"{total.changed} {verb}"
    missing = f"; not dead: {', '.join(total.missing)}" if total.missing else ""
    say(told + missing)


def _print_table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    if not rows:
        out.print("No dead letters.")
        return
    table = folding_table(*columns, title=title)
    for row in rows:
        table.add_row(*(cell(row[name]) for name in columns))
    out.print(table)

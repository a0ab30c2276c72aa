"""``lockstep export`` and ``lockstep import``: what is unfinished or dead as JSON lines, and back."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lockstep.backup import Imported
from lockstep.backup.exporting import EXPORTED
from lockstep.cli.common import complain, err, print_json, say, settings_with_redis
from lockstep.cli.files import STANDARD, reading, writing
from lockstep.states import MessageState
from lockstep.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a sentence.")]


def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write; - for standard output.")],
    *,
    queue: Annotated[str | None, typer.Option("--queue", help="Only this queue.", show_default=False)] = None,
    state: Annotated[
        MessageState | None, typer.Option("--state", help="Only messages in this state.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Write every message that is unfinished or dead, with its attempts, one JSON line each."""
    if state is not None and state not in EXPORTED:
        raise typer.BadParameter(f"--state: {state} messages are not exported")
    with closing(Store.connect(settings_with_redis())) as store, _progress("exporting", "") as move:
        export = store.export(queue, state)
        with writing(file) as target:
            target.writelines(export.lines(move))
    if export.left:
        complain(
            f"{export.left} entries of outboxes are not in the export: only a worker can deliver them. "
            "Start one, wait, and export again"
        )
    if file == STANDARD:
        return
    if json:
        print_json({"exported": export.messages, "left": export.left})
    else:
        say(f"{export.messages} exported to {file}")


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to read; - for standard input.")],
    *,
    json: AsJson = False,
) -> None:
    """Put the messages of an export back; those that are known already are left alone."""
    read = 0

    with (
        reading(file, "FILE") as (lines, size),
        closing(Store.connect(settings_with_redis())) as store,
        _progress("importing", "bytes") as move,
    ):

        def tell(number: int) -> None:
            nonlocal read
            read += number
            move(read, size)

        try:
            imported = store.importer().read(lines, tell)
        except KeyboardInterrupt:
            complain("interrupted: import the file again to continue; messages that are known are left alone")
            raise typer.Exit(1) from None
    if json:
        print_json(imported.view())
    else:
        _print(imported)


def _print(imported: Imported) -> None:
    told = [f"{imported.restored} restored, {imported.known} known already"]
    if imported.joined:
        told.append(f"{imported.joined} groups had other messages: what was restored is behind them")
    if imported.let_go:
        told.append(
            f"{imported.let_go} dead letters do not block their group any more, because it had others"
        )
    for one in told:
        say(one)


@contextmanager
def _progress(verb: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(verb, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)

"""``lockstep export`` and ``lockstep import``: what is unfinished or dead as JSON lines, and back."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lockstep.backup import Imported
from lockstep.backup.exporting import EXPORTED
from lockstep.cli.common import err, out, print_json, settings_with_redis
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
        with _target(file) as target:
            target.writelines(export.lines(move))
    if file == "-":
        return
    if json:
        print_json({"exported": export.messages})
    else:
        out.print(f"{export.messages} exported to {file}", markup=False, highlight=False, soft_wrap=True)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to read; - for standard input.")],
    *,
    json: AsJson = False,
) -> None:
    """Put the messages of an export back; those that are known already are left alone."""
    if file != "-" and not Path(file).is_file():
        raise typer.BadParameter(f"FILE: no file {file!r}")
    size = None if file == "-" else Path(file).stat().st_size
    source = nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")  # noqa: SIM115
    read = 0

    with (
        source as lines,
        closing(Store.connect(settings_with_redis())) as store,
        _progress("importing", "bytes") as move,
    ):

        def tell(number: int) -> None:
            nonlocal read
            read += number
            move(read, size)

        imported = store.importer().read(lines, tell)
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
        out.print(one, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """The file to write: it is there under its name only when it is whole."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(verb: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(verb, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)

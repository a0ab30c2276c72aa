"""``lockstep workers`` and ``lockstep processes``: who runs where, and what each does."""

from contextlib import closing
from typing import Annotated

import typer
from rich.text import Text

from lockstep.cli.common import cell, folding_table, out, print_json, settings_with_redis
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.processviews import process_view
from lockstep.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

_MIB = 1024 * 1024


def workers(json: AsJson = False) -> None:
    """Show each worker process: what it takes, whether it is ready, how busy it is."""
    records = [record for record in _listing() if record.type is ProcessType.WORKER]
    if json:
        print_json({"items": list(map(process_view, records))})
        return
    if not records:
        out.print("No worker has been heard of for ten seconds.")
        return
    table = folding_table("worker", "role", "version", "state", "queues", "busy", "done", "memory", "seen")
    for one in records:
        table.add_row(
            cell(one.name),
            cell(one.role),
            cell(one.version),
            _state(one),
            cell(", ".join(one.queues)),
            f"{one.busy}/{one.capacity}",
            str(one.done),
            *_measured(one),
        )
    out.print(table)


def processes(json: AsJson = False) -> None:
    """Show every process of the fleet that was heard of lately: web, workers, schedulers."""
    records = _listing()
    if json:
        print_json({"items": list(map(process_view, records))})
        return
    if not records:
        out.print("No process has been heard of for ten seconds.")
        return
    table = folding_table(
        "type", "process", "host", "pid", "version", "state", "busy", "done", "memory", "seen"
    )
    for one in records:
        table.add_row(
            one.type.value,
            cell(one.name),
            cell(one.host),
            str(one.pid),
            cell(one.version),
            _state(one),
            f"{one.busy}/{one.capacity}",
            str(one.done),
            *_measured(one),
        )
    out.print(table)


def _listing() -> list[ProcessRecord]:
    with closing(Store.connect(settings_with_redis())) as store:
        return store.processes.listing()


def _state(record: ProcessRecord) -> Text:
    return Text(record.state.value, style="" if record.state is ProcessState.READY else "yellow")


def _measured(record: ProcessRecord) -> tuple[str, str]:
    return f"{record.memory_bytes / _MIB:.0f} MiB", f"{record.seen_ms / 1000:.1f} s ago"

"""``lockstep message``: all that is known about one message."""

from typing import Annotated, Any

import typer
from rich.table import Table

from lockstep.cli.common import cell, folding_table, out, print_json, settings_with_redis
from lockstep.store import Store
from lockstep.views import message_view


def message(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the message.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """Show one message with every attempt."""
    store = Store.connect(settings_with_redis())
    try:
        view = message_view(store.message(message_id))
    finally:
        store.close()
    if json:
        print_json(view)
        return
    out.print(_facts(view))
    if view["attempts"]:
        out.print(_attempts(view["attempts"]))


def _facts(view: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None)
    for name, value in view.items():
        if name != "attempts" and value is not None:
            table.add_row(name, cell(value))
    return table


def _attempts(attempts: list[dict[str, Any]]) -> Table:
    table = folding_table("#", "worker", "started", "ended", "outcome", "error", title="Attempts")
    for number, attempt in enumerate(attempts, start=1):
        error = attempt["error"] or {}
        table.add_row(
            str(number),
            cell(attempt["worker"]),
            attempt["started_at"],
            attempt["ended_at"] or "",
            attempt["outcome"],
            cell(": ".join(filter(None, (error.get("type"), error.get("message"))))),
        )
    return table

"""``lockstep status``: every queue in numbers."""

import time
from contextlib import closing
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lockstep.cli.common import cell, out, print_json, settings_with_redis
from lockstep.printable import printable
from lockstep.states import GroupState, MessageState
from lockstep.store import Store
from lockstep.views import intake_view, queue_view

#: Seconds between two looks of ``--watch``.
_INTERVAL: Final = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of tables; a document a look.")] = False,
) -> None:
    """Show each queue: messages and groups by state, and who claims from it."""
    with closing(Store.connect(settings_with_redis())) as store:
        try:
            _show(store, watch=watch, json=json)
        except KeyboardInterrupt:
            return  # how one leaves --watch


def _show(store: Store, *, watch: bool, json: bool) -> None:
    if json:
        print_json(_document(store))
        while watch:
            time.sleep(_INTERVAL)
            print_json(_document(store))
    elif not watch:
        out.print(_tables(_document(store)))
    else:
        with Live(_tables(_document(store)), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(_INTERVAL)
                live.update(_tables(_document(store)), refresh=True)


def _document(store: Store) -> dict[str, Any]:
    queues = [queue_view(store.counts(name)) for name in store.queues()]
    return {"intake": intake_view(store.intake.status()), "queues": queues}


def _tables(document: dict[str, Any]) -> RenderableType:
    queues = document["queues"]
    if not queues:
        return Group(
            *_intake(document["intake"]), Text("No queue yet: nothing was sent, and no worker has run.")
        )
    return Group(
        *_intake(document["intake"]),
        _numbers("Messages", "messages", queues, list(MessageState)),
        _numbers("Groups", "groups", queues, list(GroupState)),
        _claimers(queues),
    )


def _intake(intake: dict[str, Any]) -> list[Text]:
    """A line while the intake is off; usually there is none."""
    if intake["accept"]:
        return []
    return [
        Text(
            printable(f"Intake off since {intake['since']}: {intake['why'] or 'no messages are accepted'}"),
            style="yellow",
        )
    ]


def _numbers(title: str, key: str, queues: list[dict[str, Any]], states: list[Any]) -> Table:
    table = Table("queue", title=title)
    for state in states:
        table.add_column(state.value, justify="right")
    if key == "groups":
        table.add_column("oldest", justify="right")
    for queue in queues:
        row = [str(queue[key].get(state.value, 0)) for state in states]
        if key == "groups":
            row.append(_seconds(queue["oldest_seconds"]))
        name = cell(queue["name"])
        if key == "groups" and queue["paused"]:
            name.append(" (paused)", style="yellow")
        table.add_row(name, *row)
    return table


def _claimers(queues: list[dict[str, Any]]) -> Table:
    table = Table("queue", "claimer", title="Claimers")
    table.add_column("seen", justify="right")
    for queue in queues:
        for claimer, age in sorted(queue["claimers"].items()):
            table.add_row(cell(queue["name"]), cell(claimer), f"{_seconds(age)} ago")
    return table


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"

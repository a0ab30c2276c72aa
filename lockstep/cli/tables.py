"""``lockstep queues`` and ``lockstep groups``: tables to read."""

from contextlib import closing
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lockstep.cli.common import cell, folding_table, out, print_json, say, settings_with_redis
from lockstep.groups import MAX_PAGE
from lockstep.printable import printable
from lockstep.states import GroupState, MessageState
from lockstep.store import Store
from lockstep.survey import KEPT, GroupOrder
from lockstep.switchviews import group_view
from lockstep.views import queue_view

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

_COLUMNS = ("state", "depth", "head", "head_age_seconds", "holder", "blocked_until", "why", "limit")


def queues(json: AsJson = False) -> None:
    """Show each queue: its messages by state, whether it is paused, the age of its oldest ready head."""
    with closing(Store.connect(settings_with_redis())) as store:
        views = [queue_view(store.counts(name)) for name in store.queues()]
    if json:
        print_json({"items": views})
        return
    table = Table("queue", *(state.value for state in MessageState), "oldest", "")
    for view in views:
        oldest = "" if view["oldest_seconds"] is None else f"{view['oldest_seconds']:.1f} s"
        numbers = [str(view["messages"][state.value]) for state in MessageState]
        table.add_row(cell(view["name"]), *numbers, oldest, "paused" if view["paused"] else "")
    out.print(table)


def groups(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)],
    state: Annotated[
        GroupState | None, typer.Option("--state", help="Only groups in this state.", show_default=False)
    ] = None,
    sort: Annotated[
        GroupOrder | None,
        typer.Option("--sort", help="The deepest or the oldest first, 100 at most.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Groups to show, at most.")] = 100,
    json: AsJson = False,
) -> None:
    """Show the groups of a queue: how deep each is, who holds it, what it waits for."""
    if sort is not None and state is not None:
        raise typer.BadParameter("not together with --sort", param_hint="--state")
    with closing(Store.connect(settings_with_redis())) as store:
        views, more, exact = _listed(store, queue, state, sort, limit)
    if json:
        print_json({"items": views, "more": more} | ({} if sort is None else {"exact": exact}))
        return
    if not views and exact:
        out.print("No groups.")
        return
    table = folding_table("group", *(name.replace("_", " ") for name in _COLUMNS))
    for view in views:
        name = Text(printable(view["group"] or "(none)"), style="" if view["group"] else "dim")
        table.add_row(name, *(_cell(view[column]) for column in _COLUMNS))
    out.print(table)
    if more:
        say(f"… and others: --limit {limit}")
    if not exact:
        out.print("There are many groups: these are what the search has found so far.")


def _listed(
    store: Store, queue: str, state: GroupState | None, sort: GroupOrder | None, limit: int
) -> tuple[list[dict[str, Any]], bool, bool]:
    """Groups; whether there are others; whether all were looked at for the order."""
    if sort is None:
        return *_pages(store, queue, state, limit), True
    records, exact = store.groups.ranked(queue, sort, limit)
    return list(map(group_view, records)), len(records) >= min(limit, KEPT), exact


def _pages(
    store: Store, queue: str, state: GroupState | None, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    views: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = store.groups.page(queue, state, cursor=cursor, limit=min(MAX_PAGE, limit - len(views)))
        views += map(group_view, page.items)
        cursor = page.next_cursor
        if cursor is None or len(views) >= limit:
            return views, cursor is not None


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    return Text(f"{value:.1f}" if isinstance(value, float) else printable(str(value)))

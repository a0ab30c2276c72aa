"""``lockstep messages``: messages that match, as a table to read."""

from contextlib import closing
from typing import Annotated

import typer

from lockstep.cli.common import cell, folding_table, out, print_json, settings_with_redis
from lockstep.listrequests import parse_wanted
from lockstep.states import MessageState
from lockstep.store import Store
from lockstep.views import listed_view

_COLUMNS = ("id", "state", "actor", "queue", "group", "sequence", "enqueued_at", "error")


def messages(
    *,
    state: Annotated[MessageState | None, typer.Option(help="In this state.", show_default=False)] = None,
    queue: Annotated[str | None, typer.Option(help="Of this queue.", show_default=False)] = None,
    group: Annotated[str | None, typer.Option(help="Of this group.", show_default=False)] = None,
    actor: Annotated[str | None, typer.Option(help="Of this actor.", show_default=False)] = None,
    error: Annotated[
        str | None, typer.Option(help="Class of the last error, or reason of its death.", show_default=False)
    ] = None,
    q: Annotated[
        str | None, typer.Option("--q", help="Words of its arguments (SEARCH_INDEX).", show_default=False)
    ] = None,
    message_id: Annotated[str | None, typer.Option("--id", help="With this id.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1)] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """List messages, filtered."""
    wanted = parse_wanted(
        {
            "state": state,
            "queue": queue,
            "group": group,
            "actor": actor,
            "error": error,
            "q": q,
            "id": message_id,
        }
    )
    with closing(Store.connect(settings_with_redis())) as store:
        views = [listed_view(one) for one in store.listing.each(wanted, limit)]
    if json:
        print_json({"items": views})
        return
    table = folding_table(*(column.removesuffix("_at") for column in _COLUMNS))
    for view in views:
        table.add_row(*(cell(view[column]) for column in _COLUMNS))
    out.print(table if views else "No messages.")

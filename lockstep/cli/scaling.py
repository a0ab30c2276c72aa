"""``lockstep scaling``: how many workers there should be."""

from contextlib import closing
from typing import Annotated, Any, Final

import typer

from lockstep.cli.common import folding_table, out, print_json, settings_with_redis
from lockstep.scalingviews import hint_view
from lockstep.store import Store

_COLUMNS: Final = (
    "depth",
    "due_soon",
    "useful_threads",
    "oldest_seconds",
    "rate",
    "busy",
    "capacity",
    "workers",
)


def scaling(
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Show how many workers of each role there are, and how many there should be."""
    with closing(Store.connect(settings_with_redis())) as store:
        counts = [store.counts(name) for name in store.queues()]
        views = [hint_view(one) for one in store.scaling.hints(counts, store.processes.listing())]
    if json:
        print_json({"items": views})
        return
    table = folding_table("role", *(name.replace("_", " ") for name in _COLUMNS), "wanted")
    for view in views:
        table.add_row(view["role"], *(_cell(view[name]) for name in _COLUMNS), str(view["workers_wanted"]))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)

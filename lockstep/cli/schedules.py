"""``lockstep schedules``: the periodic actors, when they ran and will run; ``run`` sends one at once."""

from contextlib import closing
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lockstep.cli.common import cell, out, print_json, say, settings_with_redis
from lockstep.modules import check_actor_modules, import_actors
from lockstep.store import Store
from lockstep.views import schedules_view

app = typer.Typer(
    help="Show every schedule, when it last ran and when it will, and the schedulers that live."
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]


@app.callback(invoke_without_command=True)
def schedules(context: typer.Context, json: AsJson = False) -> None:
    """Show every schedule, when it last ran and when it will, and the schedulers that live."""
    if context.invoked_subcommand is not None:
        return
    with closing(Store.connect(settings_with_redis())) as store:
        view = schedules_view(store.schedules.listing())
    if json:
        print_json(view)
        return
    out.print(_schedules(view["items"]) if view["items"] else "No scheduler has declared a periodic actor.")
    out.print(_schedulers(view["schedulers"]) if view["schedulers"] else "No scheduler is alive.")


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the actor.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a line.")] = False,
) -> None:
    """Send a periodic actor at once, beside its ticks."""
    check_actor_modules(settings_with_redis())
    broker = import_actors().broker  # reads the settings, which may just have got a Redis
    from lockstep.scheduler import send_now  # noqa: PLC0415

    with closing(broker):
        message, accepted = send_now(broker, name)
    if json:
        print_json({"id": accepted.id, "queue": message.queue_name, "state": accepted.state})
        return
    say(f"{accepted.id}  {accepted.state}")


def _schedules(items: list[dict[str, Any]]) -> Table:
    table = Table("actor", "expression", "catch up", "last tick", "last fired", "next", "scheduler")
    for item in items:
        table.add_row(
            cell(item["name"]),
            cell(item["expression"]),
            item["catch_up"],
            _time(item["last_tick_at"]),
            _time(item["last_run_at"]),
            _time(item["next_at"]),
            "alive" if item["alive"] else Text("none", style="red"),
        )
    return table


def _schedulers(schedulers: list[dict[str, Any]]) -> Table:
    table = Table("scheduler")
    table.add_column("seen", justify="right")
    for one in schedulers:
        table.add_row(cell(one["name"]), f"{one['seen_seconds']:.1f} s ago")
    return table


def _time(rfc3339: str | None) -> str:
    """To the second: ticks have no more, and a row has seven columns."""
    return "" if rfc3339 is None else rfc3339.replace("T", " ")[:19]

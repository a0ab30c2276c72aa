"""``lockstep limits``: look at limits, change them at run time, hold them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.table import Table

from lockstep.cli.common import cell, out, print_json, say, settings_with_redis
from lockstep.limitstore import LimitStore
from lockstep.parsing import seconds
from lockstep.rates import MAX_COUNT, MAX_PERIOD_MS, Rate, is_name, parse_rates
from lockstep.store import Store
from lockstep.views import limit_view

app = typer.Typer(help="Show the limits, or change them for the whole fleet at run time.")


def _name(value: str) -> str:
    if not is_name(value):
        raise typer.BadParameter("expected letters, digits, '.', '_' and '-'")
    return value


def _rates(values: list[str]) -> list[str]:
    try:
        parse_rates(value for value in values if value != "off")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return values


def _hold_seconds(value: str) -> float:
    try:
        return seconds(0.001, MAX_PERIOD_MS / 1000)(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the limit.", callback=_name)]
Key = Annotated[str, typer.Option("--key", help="Only for this key of it.")]


@app.callback(invoke_without_command=True)
def limits(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Show every limit: what it is, who said so, and how it is used."""
    if context.invoked_subcommand is None:
        with _limits() as store:
            _show(store, json=json)


@app.command("set")
def set_limit(
    name: Name,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            "--rate",
            help="100/60s, 100/60s burst 10, 10/1s per group; off: none.",
            callback=lambda v: v and _rates(v),
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", help="So many at once; 0: any number.", min=0, max=MAX_COUNT),
    ] = None,
) -> None:
    """Say what a limit is, from now on, before what settings and actors say."""
    if rate is None and concurrency is None:
        raise typer.BadParameter("expected --rate, --concurrency or both")
    rates: tuple[Rate, ...] | None = None
    if rate is not None:
        rates = parse_rates(one for one in rate if one != "off")
    with _limits() as store:
        store.set(name, rates=rates, concurrency=concurrency)
        _show(store)


@app.command("reset")
def reset(name: Name) -> None:
    """Go back to what settings and actors say."""
    with _limits() as store:
        store.reset(name)
        _show(store)


@app.command("hold")
def hold(
    name: Name,
    duration: Annotated[
        str, typer.Argument(metavar="DURATION", help="30s, 5m.", callback=lambda v: str(_hold_seconds(v)))
    ],
    key: Key = "",
) -> None:
    """Start nothing that a limit counts for so long; a longer hold stays."""
    with _limits() as store:
        held = store.hold(name, max(1, round(float(duration) * 1000)), key)
    say(f"{name}: held for {held / 1000:g} s")


@app.command("release")
def release(name: Name, key: Key = "") -> None:
    """End a hold."""
    with _limits() as store:
        store.release(name, key)
    say(f"{name}: not held")


@contextmanager
def _limits() -> Iterator[LimitStore]:
    store = Store.connect(settings_with_redis())
    try:
        yield store.limits
    finally:
        store.close()


def _show(store: LimitStore, *, json: bool = False) -> None:
    views, paused = [limit_view(one) for one in store.all()], store.paused_actors()
    if json:
        print_json({"items": views, "paused_actors": paused})
        return
    table = Table("limit", "rates", "at once", "said by", title="Limits")
    for title in ("running", "groups waiting", "held"):
        table.add_column(title, justify="right")
    for view in views:
        table.add_row(
            cell(view["name"]),
            cell(", ".join(view["rates"])),
            "" if view["concurrency"] is None else str(view["concurrency"]),
            ", ".join(sorted(set(view["sources"].values()))),
            str(view["running"]),
            str(view["waiting_groups"]),
            f"{view['held_seconds']:.1f} s" if view["held_seconds"] else "",
        )
    out.print(table if views else "No limits.")
    if paused:
        say(f"Paused actors: {', '.join(paused)}")

"""``lockstep loadtest``: load over HTTP on a service that runs, and whether all of it came through in order."""

import asyncio
from typing import Annotated, Any

import httpx
import typer
from rich.live import Live

from lockstep.cli.common import NOT_READY, complain, err, out, print_json
from lockstep.loadtest.plan import ACTOR, Plan
from lockstep.loadtest.run import Run, run_loadtest
from lockstep.loadtest.view import document, table, verdict
from lockstep.settings import Settings
from lockstep.strictjson import parse_json

Url = Annotated[
    str,
    typer.Option(metavar="URL", help="Where the service is; else PORT on this machine.", show_default=False),
]
Key = Annotated[
    str,
    typer.Option(
        metavar="SECRET", envvar="LOCKSTEP_API_KEY", help="API key: enqueue and read.", show_default=False
    ),
]


def loadtest(
    *,
    url: Url = "",
    key: Key = "",
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Messages a second.")] = 200,
    groups: Annotated[int, typer.Option(min=1, max=100_000, help="Groups they belong to, in turn.")] = 50,
    duration: Annotated[float, typer.Option(min=0.1, max=7 * 86400, help="Seconds of sending.")] = 30,
    timeout: Annotated[
        float, typer.Option(min=0, max=86400, help="Seconds until all must be done afterwards.")
    ] = 60,
    seconds: Annotated[float, typer.Option(min=0, max=60, help="Seconds that each message takes.")] = 0,
    actor: Annotated[str, typer.Option(metavar="ACTOR", help="What is sent.")] = ACTOR,
    kwargs: Annotated[
        str, typer.Option(metavar="JSON", help="Arguments of another actor.", show_default=False)
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON document at the end.")] = False,
) -> None:
    """Send at a fixed rate, wait until all is done, and check that nothing was lost, doubled or out of order.

    Ctrl-C ends the sending; what was sent is checked all the same.
    """
    plan = Plan(
        rate=rate,
        groups=groups,
        duration=duration,
        timeout=timeout,
        actor=actor,
        kwargs=_arguments(actor, kwargs),
        seconds=seconds,
    )
    address = _checked(url or Settings.load().web_url)
    try:
        run = _run(plan, address, key or None)
    except asyncio.CancelledError:
        complain("interrupted: nothing can be said about the order")
        raise typer.Exit(1) from None
    if json:
        print_json(document(run))
    else:
        out.print(table(run))
        out.print(verdict(run))
    if run.problems:
        raise typer.Exit(1)
    if not run.drained or run.verdict.unfinished:
        raise typer.Exit(NOT_READY)


def _run(plan: Plan, url: str, key: str | None) -> Run:
    if not err.is_terminal:
        return asyncio.run(run_loadtest(plan, url, key, lambda run: None))
    with Live(console=err, auto_refresh=False, transient=True) as live:
        return asyncio.run(run_loadtest(plan, url, key, lambda run: live.update(table(run), refresh=True)))


def _arguments(actor: str, kwargs: str) -> dict[str, Any] | None:
    if not kwargs:
        return None if actor == ACTOR else {}
    try:
        given = parse_json(kwargs)
    except ValueError as error:
        raise typer.BadParameter(f"--kwargs: not JSON: {error}") from None
    if not isinstance(given, dict):
        raise typer.BadParameter("--kwargs: expected an object")
    return given


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"--url: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise typer.BadParameter("--url: expected an address such as http://127.0.0.1:7777")
    return url

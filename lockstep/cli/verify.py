"""``lockstep verify``: every check of a deployment in one list."""

import os
from collections.abc import Mapping
from typing import Annotated, Final

import typer
from rich.text import Text

from lockstep.cli.common import out, print_json, settings_with_redis
from lockstep.errors import RedisUnavailable
from lockstep.settings import Settings
from lockstep.verifying import Checked, Status, verify

_STYLES: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red", Status.SKIPPED: "dim"}


def verify_(
    production: Annotated[
        bool, typer.Option("--production", help="With what must be so before going live.")
    ] = False,
    before: Annotated[
        bool, typer.Option("--before", help="Without the checks of processes: none runs yet.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
) -> None:
    """Check everything that a deployment needs. Exits with 1 when something is wrong; warnings are none.

    A Redis that is away is one failed check.
    """
    checked = []
    for one in verify(_load, production=production, before=before):
        checked.append(one)
        if not json:
            _print(one)
    wrong = [one for one in checked if one.finding.status is Status.FAILED]
    if json:
        print_json({"ok": not wrong, "checks": [one.view() for one in checked]})
    else:
        _print_sum(checked, wrong)
    if wrong:
        raise typer.Exit(1)


def _load() -> tuple[Settings, Mapping[str, str]]:
    try:
        settings = settings_with_redis()
    except RedisUnavailable:  # none is named, and none runs here: the check of Redis says so
        settings = Settings.load()
    # A process that starts reads `.env` itself. Put into its environment, it would hide files that are named there.
    modules = {"ACTOR_MODULES": ",".join(settings.actor_modules)} if settings.actor_modules else {}
    return settings, {**os.environ, **modules}


def _print(one: Checked) -> None:
    finding = one.finding
    line = Text(f"{finding.status.value:<8}", style=_STYLES[finding.status])
    line.append(f" {one.name}: {finding.told}", style="")
    out.print(line, highlight=False, soft_wrap=True)
    if finding.advice and finding.status is not Status.OK:
        out.print(Text(f"         → {finding.advice}", style="dim"), highlight=False, soft_wrap=True)


def _print_sum(checked: list[Checked], wrong: list[Checked]) -> None:
    warnings = sum(one.finding.status is Status.WARNING for one in checked)
    out.print(f"{len(checked)} checks, {len(wrong)} failed, {warnings} warnings.", highlight=False)

"""``lockstep accept``: an operator stops the intake of the whole fleet, and opens it again."""

from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from lockstep import logs
from lockstep.cli.common import print_json, say, settings_with_redis
from lockstep.store import Store
from lockstep.views import intake_view

_log = logs.get_logger("lockstep.intake")


class Wanted(StrEnum):
    """What ``lockstep accept`` may be told."""

    ON = "on"
    OFF = "off"
    STATUS = "status"


def accept(
    wanted: Annotated[Wanted, typer.Argument(help="on, off, or status: only look.", show_default=False)],
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Told to whoever is refused.", show_default=False)
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a sentence.")] = False,
) -> None:
    """Accept new messages or not, in every process, from the next one on. What was accepted goes on."""
    if why and wanted is not Wanted.OFF:
        raise typer.BadParameter("--why belongs to off")
    with closing(Store.connect(settings_with_redis())) as store:
        changed = wanted is not Wanted.STATUS and store.intake.switch(accept=wanted is Wanted.ON, why=why)
        status = store.intake.status()
    if changed:
        _log.info(f"intake.{wanted}", why=why or None)
    view = intake_view(status)
    if json:
        print_json(view if wanted is Wanted.STATUS else {**view, "changed": changed})
        return
    since = f" since {view['since']}" if view["since"] else ""
    reason = f": {status.why}" if status.why else ""
    say(f"intake {'on' if status.accept else 'off'}{since}{reason}")

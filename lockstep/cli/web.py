"""``lockstep web``: the web process in the foreground."""

import os

import typer

from lockstep import logs
from lockstep.cli.common import check_schema, settings_with_redis
from lockstep.modules import check_actor_modules
from lockstep.parent import die_with_parent


def web() -> None:
    """Run the web process: HTTP API, metrics and probes."""
    settings = settings_with_redis()
    check_actor_modules(settings)
    logs.configure(settings)
    check_schema(settings)
    if "SUPERVISOR_ENABLED" in os.environ:
        # A supervisord that starts anew would start a second one beside an orphan.
        die_with_parent()
    from web.server import run  # noqa: PLC0415  (imports the actors, which read the settings)

    raise typer.Exit(run(settings))

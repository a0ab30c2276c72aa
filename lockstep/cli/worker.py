"""``lockstep worker``: a worker in the foreground, by Dramatiq's own command."""

import os
import sys
import sysconfig
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import dramatiq.cli
import typer

from lockstep import logs
from lockstep.cli.common import settings_with_redis
from lockstep.cli.overdue import kill_children_when_overdue
from lockstep.errors import RedisUnavailable
from lockstep.modules import check_actor_modules
from lockstep.parent import die_with_parent
from lockstep.settings import Settings
from lockstep.signals import ignore_stops
from lockstep.store import Store

#: Seconds beyond WORKER_SHUTDOWN_TIMEOUT that Dramatiq waits: the drain ends by itself before.
_GRACE: Final = 5
#: Seconds that the master waits for its processes to start; it hears no signal before.
_BOOT: Final = 30
#: Seconds beyond WORKER_SHUTDOWN_TIMEOUT until a process that has not ended is killed.
_OVERDUE: Final = 15


def worker() -> None:
    """Run a worker: WORKER_PROCESSES processes of WORKER_CONCURRENCY threads.

    SIGTERM and Ctrl-C drain it, SIGHUP drains and starts it again. A process that hears of neither is killed
    soon after WORKER_SHUTDOWN_TIMEOUT.
    """
    settings = settings_with_redis()
    check_actor_modules(settings)
    logs.configure(settings)
    with closing(Store.connect(settings)) as store, suppress(RedisUnavailable):  # else its processes look
        store.schema.check()
    if "SUPERVISOR_ENABLED" in os.environ:
        # A supervisord that starts anew would start a second one beside an orphan.
        die_with_parent()
    # On SIGHUP Dramatiq executes this name again, so it must be a program.
    if not os.access(sys.argv[0], os.X_OK):
        sys.argv[0] = str(Path(sysconfig.get_path("scripts")) / "lockstep")
    kill_children_when_overdue(settings.worker_shutdown_timeout + _OVERDUE)
    code = dramatiq.cli.main(dramatiq.cli.make_argument_parser().parse_args(arguments(settings)))
    ignore_stops()
    raise typer.Exit(code)


def arguments(settings: Settings) -> list[str]:
    """The arguments of the command ``dramatiq`` for these settings."""
    drain_ms = round((settings.worker_shutdown_timeout + _GRACE) * 1000)
    return [
        # Called in each process: it imports the actors and sees that no other broker is in place.
        "lockstep.modules:import_in_worker",
        # Dramatiq puts this first. It is first already: its default, the working directory, may be another checkout.
        f"--path={sys.path[0] or '.'}",
        f"--processes={settings.worker_processes}",
        f"--threads={settings.worker_concurrency}",
        f"--worker-shutdown-timeout={drain_ms}",
        f"--worker-fork-timeout={_BOOT * 1000}",
        "--skip-logging",
    ]

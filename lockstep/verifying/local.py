"""Checks of this machine: directories, actors and what they declare."""

import os
import shutil
from pathlib import Path
from typing import Final

from lockstep import cron
from lockstep.modules import import_actors
from lockstep.parsing import is_loopback
from lockstep.verifying.findings import Deployment, Finding, Status, failed, fine, warning

#: Bytes that must be free where DATA_DIR is, and below which somebody should look.
_LEAST_FREE: Final = 100 * 2**20
_LITTLE_FREE: Final = 1024 * 2**20

_SET_KEYS: Final = "API_KEYS=name:scope+scope:secret,…"


def data_dir(deployment: Deployment) -> Finding:
    """DATA_DIR takes what is written to it, and has room."""
    path = Path(deployment.settings.data_dir)
    if not path.is_dir():
        advice = "run `lockstep setup`, if supervisord or a Redis of this machine are to use it"
        return warning(f"DATA_DIR: {path} is no directory", advice)
    if not os.access(path, os.W_OK | os.X_OK):
        return failed(f"DATA_DIR: {path} cannot be written to by user {os.geteuid()}", "give it to this user")
    free = shutil.disk_usage(path).free
    told = f"{path} has {free / 2**30:.1f} GiB free"
    if free < _LEAST_FREE:
        return failed(told, "make room")
    return warning(told, "make room") if free < _LITTLE_FREE else fine(told)


def actors(deployment: Deployment) -> Finding:
    """The actors can be imported, so web, workers and schedulers can start."""
    error = deployment.import_error
    if error is not None:
        return failed(error, "see that the modules of ACTOR_MODULES are installed, and import by themselves")
    modules = ", ".join(("actors", *deployment.settings.actor_modules))
    return fine(f"{modules} can be imported")


def exposure(deployment: Deployment) -> Finding:
    """The web process is closed to others: by API keys, or because it listens on loopback only."""
    settings = deployment.settings
    if settings.api_keys:
        return fine("API_KEYS is set")
    if not is_loopback(settings.bind_host):
        return failed(f"HOST: {settings.bind_host} can be reached by others, without API_KEYS", _SET_KEYS)
    return warning(
        "API_KEYS: none, so everybody who reaches a proxy or tunnel on this machine may operate all queues "
        "(a proxy that adds no header cannot be detected)",
        _SET_KEYS,
    )


def schedules(deployment: Deployment) -> Finding:
    """What periodic actors declare can be kept."""
    if deployment.import_error is not None:
        return Finding(Status.SKIPPED, "the actors cannot be imported")
    from lockstep.scheduler import declared  # noqa: PLC0415  (with Dramatiq)

    try:
        found = declared(import_actors().broker)
        now_ms = deployment.store.schedules.listing().now_ms
        for schedule in found:
            cron.next_tick(schedule.expression, now_ms)
    except Exception as error:  # whatever a module does
        return failed(str(error), "mend the expression: see docs/schedules.md")
    return fine(f"{len(found)} are declared, each has a next tick")

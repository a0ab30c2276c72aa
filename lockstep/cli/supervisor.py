"""``lockstep supervisor``: all processes of this machine, under supervisord in the foreground."""

import os

import typer

from lockstep.cli.common import settings_with_redis
from lockstep.errors import AlreadyRunning
from lockstep.modules import check_actor_modules
from lockstep.supervision.control import Control
from lockstep.supervision.place import Place
from lockstep.supervision.slots import forget_former


def supervisor() -> None:
    """Run web, workers and scheduler under supervisord, in the foreground. SIGTERM drains and stops all."""
    settings = settings_with_redis()
    check_actor_modules(settings)
    place = Place.of(settings)
    environment = place.environment(settings, os.environ)
    place.make()
    if Control(place).alive():
        raise AlreadyRunning(f"a supervisord runs already: it answers at {place.socket}")
    forget_former(place, settings.worker_masters)
    program, *options = place.supervisord
    try:
        # The same process from here on: whoever started it signals supervisord, and sees its end.
        os.execve(program, [program, *options, "-n", "-c", str(place.config)], environment)  # noqa: S606
    except OSError as error:
        raise typer.BadParameter(f"{program}: {error.strerror}") from None

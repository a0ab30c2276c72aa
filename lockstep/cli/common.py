"""What the commands share: where they write, and how they find Redis."""

import json
import os
from importlib.util import find_spec
from typing import Any, Final

from rich.console import Console

from lockstep.embedded import running_url
from lockstep.errors import InvalidSettings, RedisUnavailable
from lockstep.settings import Settings

#: Results.
out: Final = Console()
#: Everything else.
err: Final = Console(stderr=True)

#: Exit code that no error of ours stands for.
NOT_READY: Final = 3


def settings_with_redis() -> Settings:
    """The settings; without a Redis in them, the embedded one that ``lockstep up`` runs in DATA_DIR.

    Raises:
      InvalidSettings: with every wrong setting.
      RedisUnavailable: when none is set and none runs.
    """
    settings = Settings.load()
    if settings.redis_address is None:
        url = running_url(settings.data_dir)
        if url is None:
            raise RedisUnavailable(
                f"no Redis: set REDIS_URL, or start `lockstep up` (none runs in {settings.data_dir!r})"
            )
        os.environ["REDIS_URL"] = url  # also for what this command imports or starts
        settings = Settings.load()
    return settings


def check_actor_modules(settings: Settings) -> None:
    """See that the packages of ACTOR_MODULES are there, before something is started that imports them.

    Raises:
      InvalidSettings: naming those that are not.
    """
    # Only looked for, not imported: actors must find the broker in place when they are declared.
    missing = [module for module in settings.actor_modules if find_spec(module.partition(".")[0]) is None]
    if missing:
        raise InvalidSettings(
            {"ACTOR_MODULES": f"no module {', '.join(map(repr, missing))} can be imported here"}
        )


def complain(text: str) -> None:
    """Say what went wrong, on standard error."""
    err.print(f"lockstep: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on one line, for programs."""
    print(json.dumps(value), flush=True)

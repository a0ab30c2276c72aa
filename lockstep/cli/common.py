"""What the commands share: where they write, and how they find Redis."""

import json
import os
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from lockstep.embedded import running_url
from lockstep.errors import RedisUnavailable
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


def complain(text: str) -> None:
    """Say what went wrong, on standard error."""
    err.print(f"lockstep: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on one line, for programs."""
    print(json.dumps(value), flush=True)


def folding_table(*columns: str, title: str | None = None) -> Table:
    """A table that shows every cell whole, in as many lines as it takes: ids are there to be copied."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

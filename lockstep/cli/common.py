"""What the commands share: where they write, and how they find Redis."""

import json
import os
import signal
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from lockstep.embedded import running_url
from lockstep.errors import RedisUnavailable, SchemaTooNew
from lockstep.schema import check_when_known
from lockstep.settings import Settings
from lockstep.store import Store

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


def check_schema(settings: Settings) -> None:
    """See that this release may run on the data in Redis.

    While Redis is away nobody knows. When it turns out later that it may not, this process is asked to stop; whoever
    starts it again is told here.

    Raises:
      SchemaTooNew: the data are for newer releases only.
    """
    store = Store.connect(settings)
    if check_when_known(store.schema, _stop_if_refused):
        store.close()


def _stop_if_refused(refusal: SchemaTooNew | None) -> None:
    if refusal is not None:
        os.kill(os.getpid(), signal.SIGTERM)


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

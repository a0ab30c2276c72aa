"""What the commands share: where they write, and how they find Redis."""

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lockstep.embedded import running_url
from lockstep.errors import RedisUnavailable, SchemaTooNew
from lockstep.printable import printable, printable_lines
from lockstep.schema import check_when_known
from lockstep.settings import Settings
from lockstep.store import Store

#: Columns of a terminal whose size is not known.
_UNKNOWN_WIDTH: Final = 80


class SafeConsole(Console):
    """A console that shows the text of others as it is: no markup, no emoji names, no control characters.

    Whoever prints one line of such text takes ``printable``: here a line feed ends a line.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        if not self.width:  # COLUMNS=0, as where nobody knows the size of the terminal
            self.width = _UNKNOWN_WIDTH

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(map(_safe, buffer))


def _safe(segment: Segment) -> Segment:
    if segment.control or segment.text == "\n" or segment.text.isprintable():
        return segment
    return Segment(printable_lines(segment.text), segment.style)


#: Results.
out: Final = SafeConsole()
#: Everything else.
err: Final = SafeConsole(stderr=True)

#: Errors of a stream whose reader went away, or whose disk is full.
UNWRITABLE: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT})

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


def escape_what_cannot_be_written() -> None:
    """Let standard output and error show as escapes what their encoding lacks, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None: closed
            stream.reconfigure(errors="backslashreplace")


def decode_arguments() -> None:
    """Read arguments as UTF-8, whatever the locale says; one that is not ends the command."""
    for position, argument in enumerate(sys.argv):
        try:
            argument.encode()
        except UnicodeEncodeError:  # bytes that the locale cannot decode
            try:
                sys.argv[position] = os.fsencode(argument).decode()
            except UnicodeDecodeError:
                complain(f"{argument!r}: is not UTF-8")
                sys.exit(2)


def check_written() -> None:
    """See at the end that everything was written: a reader that went away, or a full disk, is no defect."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        end_unwritten(error)


def end_unwritten(error: OSError) -> NoReturn:
    """End a command whose output cannot be written."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more
    if error.errno != errno.EPIPE:
        complain(f"standard output: {error.strerror}")
    sys.exit(1)


def say(text: str) -> None:
    """Print one line of results, whatever is in it."""
    out.print(printable(text), soft_wrap=True)


def cell(value: object) -> Text:
    """A value of a table: empty for None, and one line whatever is in it."""
    return Text("" if value is None else printable(str(value)))


def complain(text: str) -> None:
    """Say what went wrong, on standard error."""
    err.print(f"lockstep: {text}", style="red", soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on one line, for programs."""
    print(json.dumps(value), flush=True)


def folding_table(*columns: str, title: str | None = None) -> Table:
    """A table that shows every cell whole, in as many lines as it takes: ids are there to be copied."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

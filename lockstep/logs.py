"""Logs of every process: one line an event, for people (console) or for machines (JSON).

Lockstep's own lines carry a stable ``event`` and named values; lines of the libraries come out in the
same form, with their text as the event. Values bound with ``structlog.contextvars`` are on each line.

Who uses Lockstep as a library, without ``configure``, gets its warnings where Python's logging sends them, and no more.
"""

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from lockstep.errors import Permanent
from lockstep.printable import printable, printable_lines, printable_traceback
from lockstep.settings import Settings
from lockstep.unhandled import log_unhandled

#: Libraries whose every step would be a line at info.
_QUIET: Final = ("httpx", "httpcore", "asyncio")

#: What is written in place of a line whose values cannot be shown.
_LOST: Final = "a line of %s (line %d of its file) cannot be written: %s"

#: Values that are a traceback or a stack already.
_OF_SEVERAL_LINES: Final = frozenset({"exception", "stack"})

#: What each of Lockstep's own lines passes through, before the handler that ``configure`` makes.
_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class Logger(structlog.stdlib.BoundLogger):
    """Lines of one part of Lockstep, of which debug costs next to nothing while nobody asked for it."""

    def debug(self, event: str | None = None, *args: Any, **values: Any) -> Any:
        """A step of one message."""
        return super().debug(event, *args, **values) if self._logger.isEnabledFor(logging.DEBUG) else None


def get_logger(name: str) -> Logger:
    """A logger of Lockstep's own: it obeys Python's logging, never structlog's defaults, which print every line."""
    own = [structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    return Logger(logging.getLogger(name), processors=own, context={})


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a line about a line that cannot be written, in place of a traceback that nothing escapes."""

    _failing = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (its name in logging)
        """Say which part wrote it, and what was raised; nothing, if that fails as well: nobody can read it."""
        if self._failing:
            return
        error = sys.exc_info()[1]
        facts = (record.name, record.lineno, type(error).__name__)
        self._failing = True
        try:
            self.emit(logging.LogRecord(__name__, logging.ERROR, "", 0, _LOST, facts, None))
        finally:
            self._failing = False


class _CurrentStderr(_Handler):
    """Writes to what ``sys.stderr`` is now: a Dramatiq worker replaces it after its start."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("the stream is always sys.stderr")


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up logging for this process; a second call replaces the first.

    Args:
      settings: For LOG_FORMAT, LOG_LEVEL and INSTANCE_ID, which is on every line as ``instance``.
      stream: Where the lines go; None: standard error.
    """
    level = logging.getLevelName(settings.log_level.upper())
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = _CurrentStderr() if stream is None else _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _instance(settings.instance_id),
                *_renderers(settings.log_format, colors=(stream or sys.stderr).isatty()),
            ],
        )
    )
    root = logging.getLogger()
    for former in list(root.handlers):
        root.removeHandler(former)
    handler.addFilter(_said_once)
    root.addHandler(handler)
    root.setLevel(level)
    log_unhandled(get_logger("lockstep.process"))
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # Its workers tell every step of their start and stop, beside ours; who looks for a fault may want them.
    logging.getLogger("dramatiq").setLevel(logging.WARNING if level == logging.INFO else logging.NOTSET)


def _said_once(record: logging.LogRecord) -> bool:
    """Drop or shorten what Dramatiq says about a message whose end is decided, and told by a line of our own."""
    if record.msg == "Message %s was skipped." and isinstance(record.args, tuple):
        # Put back when its worker stops, or refused: a middleware of others that skips has settled nothing.
        return getattr(record.args[0], "settlement", None) is None
    if record.exc_info and isinstance(record.exc_info[1], Permanent):
        # Refused on purpose: its reason is of use, the way to it is not.
        record.msg, record.args = f"{record.getMessage().rstrip('.')}: {record.exc_info[1]}", ()
        record.exc_info = None
    return True


def _renderers(log_format: str, *, colors: bool) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        _printable,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            pad_event_to=0,
            # Not the default, which shows local variables: payloads and secrets are among them.
            exception_formatter=_write_traceback,
        ),
    ]


def _instance(instance: str) -> Processor:
    def add(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event.setdefault("instance", instance)
        return event

    return add


def _printable(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape control characters: a group key must not steer the terminal that shows it."""
    return {printable(str(name)): _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return printable_lines(value) if name in _OF_SEVERAL_LINES else printable(value)
    if value is None or type(value) in (bool, int, float) or name == "exc_info":
        return value
    shown = repr(value)  # as the renderer would show it
    return value if shown.isprintable() else printable(shown)


def _write_traceback(stream: TextIO, exc_info: Any) -> None:
    stream.write("\n" + printable_traceback(exc_info).rstrip("\n"))

"""Exceptions that nobody handled, and warnings: Python writes them to standard error as they are, outside every log.

In a process of Lockstep they are lines of its log: text of others must not steer the terminal that shows it, and a
collector of JSON must be able to read each line.
"""

import logging
import sys
import threading
from types import TracebackType
from typing import Any


def log_unhandled(log: Any) -> None:
    """Write them to ``log`` from now on. A hook that an application or an error tracker has set stays."""

    def write(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, **facts: str
    ) -> None:
        log.critical("exception.unhandled", exc_info=(kind, error or kind(), trace), **facts)

    def in_thread(args: Any) -> None:
        if args.exc_type is not SystemExit:  # which ends its thread, and is no fault
            write(
                args.exc_type,
                args.exc_value,
                args.exc_traceback,
                thread=args.thread.name if args.thread else "",
            )

    def while_deleting(args: Any) -> None:
        write(args.exc_type, args.exc_value, args.exc_traceback, object=type(args.object).__name__)

    def in_main_thread(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):  # Ctrl-C is no fault
            sys.__excepthook__(kind, error, trace)
        else:
            write(kind, error, trace)

    if _is_ours(threading.excepthook, threading.__excepthook__):
        threading.excepthook = in_thread
    if _is_ours(sys.unraisablehook, sys.__unraisablehook__):
        sys.unraisablehook = while_deleting
    if _is_ours(sys.excepthook, sys.__excepthook__):
        sys.excepthook = in_main_thread
    logging.captureWarnings(True)


def hide_interrupts() -> None:
    """End on Ctrl-C without a traceback from now on, wherever this process is. A hook of others stays."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):  # of which Python then dies, as of the signal
            sys.__excepthook__(kind, error, trace)

    if _is_ours(sys.excepthook, sys.__excepthook__):
        sys.excepthook = show


def _is_ours(hook: Any, default: Any) -> bool:
    """Whether a hook is Python's own, or one of an earlier call."""
    return hook is default or getattr(hook, "__module__", None) == __name__

"""Decides what a failed boot hook means: of a middleware that guards a worker, that the worker must not start.

Dramatiq logs an error of a boot hook and continues. A worker would then claim messages without renewing their leases,
for instance. A hook of anybody else that fails is logged, and the worker starts, as in Dramatiq.
"""

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from typing import Any, Final

from dramatiq.middleware import AsyncIO, ShutdownNotifications, TimeLimit

from lockstep import logs
from lockstep.ending import EXIT_BROKEN
from lockstep.errors import BootFailed, SchemaTooNew, exit_code

#: Hooks that start what a worker needs.
BOOT_HOOKS: Final = frozenset({"after_process_boot", "before_worker_boot", "after_worker_boot"})

#: Dramatiq's middleware whose boot hooks start what runs, limits or interrupts actors.
_OF_DRAMATIQ: Final = (AsyncIO, ShutdownNotifications, TimeLimit)

#: Seconds that an ordinary end may take: threads that others started may never end.
_END_SECONDS: Final = 3.0

_log = logs.get_logger("lockstep.worker")


def must_boot(middleware: object) -> bool:
    """Return whether no worker may run without this middleware: Lockstep's own say so by ``guards``."""
    return isinstance(middleware, _OF_DRAMATIQ) or getattr(middleware, "guards", False) is True


def refuse(broker: Any, name: str, hook: Any, error: Exception, args: tuple[Any, ...]) -> None:
    """Return if a worker may do without a boot hook that failed.

    A worker process of a command ends with ``EXIT_BROKEN``. A worker that another program starts in its own process,
    as tests do, does not end that program: the error comes out of ``Worker.start()``, and nothing of the worker stays.

    Raises:
      BootFailed, SystemExit: it may not.
    """
    owner = getattr(hook, "__self__", None)
    if name not in BOOT_HOOKS or not must_boot(owner):
        return
    code = exit_code(error) if isinstance(error, SchemaTooNew) else EXIT_BROKEN
    failed = BootFailed(f"{name} of {type(owner).__name__}: {type(error).__name__}: {error}")
    _log.critical("boot.failed", reason=str(failed), code=code)
    of_command = name == "after_process_boot" and multiprocessing.parent_process() is not None
    if broker.owns_process or of_command:
        _end_later(code)
        raise SystemExit(code) from error
    for middleware in reversed(broker.middleware):
        if hasattr(middleware, "abandon_boot"):
            with suppress(Exception):  # it has booted in part, and the first error counts
                middleware.abandon_boot(broker, *args)
    raise failed from error


def _end_later(code: int) -> None:
    """End this process even if a thread that somebody started in it does not end."""

    def end() -> None:
        time.sleep(_END_SECONDS)
        os._exit(code)

    try:
        threading.Thread(target=end, name="boot-failed", daemon=True).start()
    except RuntimeError:  # there are no threads to be had: nothing is left to wait for
        os._exit(code)

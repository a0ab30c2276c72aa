"""Ends a process that cannot do its work, with a reason in the log and a code that a platform understands.

This is the last resort. What the process holds is reclaimed when its leases end, and the platform starts another.
"""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from lockstep import logs

if TYPE_CHECKING:
    from lockstep.broker import LockstepBroker

#: Exit code of a process that is broken: start another.
EXIT_BROKEN: Final = 70

_log = logs.get_logger("lockstep.process")


def end_process(reason: str, code: int = EXIT_BROKEN) -> NoReturn:
    """Log why, and end this process at once: a broken one must not wait for threads that may never end."""
    try:
        _log.critical("process.broken", reason=reason, code=code)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(code)


def give_up(broker: "LockstepBroker", reason: str) -> None:
    """End a worker process that cannot keep its guarantees.

    A worker inside another program, as in a test, does not end that program: it claims nothing any more, is never
    ready again, and interrupts its actors, for their leases may be lost.
    """
    if broker.owns_process:
        end_process(reason)
    broker.hold_back(reason)
    _log.critical("process.broken", reason=reason)
    for message in broker.held.all():
        message.interrupt()

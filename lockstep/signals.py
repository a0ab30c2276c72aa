"""Requests to stop: they come more than once, and the children of a process must not inherit how it handles them.

Platforms signal a process directly, and again through its group, so a second request must change nothing. But a
child that a process forks inherits its handlers, and one that it executes inherits what it ignores. Such a child could
not be terminated. So a request is never ignored while children may start, and a forked child begins with the defaults.
"""

import atexit
import functools
import os
import signal
import threading
from types import FrameType
from typing import Any, Final

#: What asks a process to stop.
STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: Modules whose handlers are about their own process only.
_OWN_MODULES: Final = (
    *("dramatiq.cli", "lockstep.", "middleware.lifecycle", "middleware.dramatiq_metrics"),
    *("web.server", "web.draining"),
)

_ending: int | None = None  # the process that has stopped, and is about to end
_forking = threading.local()


def unheard(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by doing nothing. Unlike ``SIG_IGN``, programs that are executed do not inherit this."""


def ignore_stops() -> None:
    """Ignore further requests to stop; for a process that has stopped, and is about to end with its own exit code."""
    global _ending  # noqa: PLW0603
    for signum in STOPS:
        signal.signal(signum, unheard)
    _ending = os.getpid()


def hear_interrupts() -> None:
    """Let a process for which Dramatiq ignores Ctrl-C handle it instead, by doing nothing."""
    if threading.current_thread() is not threading.main_thread():
        return
    if _is_own(signal.getsignal(signal.SIGTERM)) and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, unheard)


@atexit.register
def _ignore_at_exit() -> None:
    # An interpreter that ends drops its handlers, so a late signal would kill it. What is ignored stays ignored.
    if _ending == os.getpid() and threading.current_thread() is threading.main_thread():
        for signum in STOPS:
            signal.signal(signum, signal.SIG_IGN)


def _is_own(handler: Any) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return (getattr(handler, "__module__", None) or "").startswith(_OWN_MODULES)


def _block() -> None:
    # A signal for the child that arrives before its handlers are reset waits, and then has its default effect.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _reset() -> None:
    for signum in STOPS:
        if _is_own(signal.getsignal(signum)):
            default = signal.default_int_handler if signum is signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, default)
    _unblock()


os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_reset)

"""Processes that do not outlive the one that started them.

On Linux the kernel sends a signal when a parent dies, however it died. Elsewhere nothing does, and only
an orderly end stops the children. The kernel takes the *thread* that started the process for its
parent, so start such processes from a thread that lives as long as they may.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
# Looked up now: between fork and exec nothing should be imported or resolved.
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def die_with_parent(parent: int | None = None, signum: int = signal.SIGTERM) -> None:
    """Ask for ``signum`` when the parent of this process dies; it stays asked for over an ``exec``.

    Args:
      parent: Process id of the expected parent. When it is gone already, the signal comes at once.
      signum: What the kernel sends.
    """
    expected = os.getppid() if parent is None else parent
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != expected:  # it died before the kernel was asked
        os.kill(os.getpid(), signum)


def dies_with_me(signum: int = signal.SIGTERM) -> Callable[[], None]:
    """A ``preexec_fn`` whose process gets ``signum`` when the calling process dies."""
    parent = os.getpid()
    return lambda: die_with_parent(parent, signum)

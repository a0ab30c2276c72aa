"""Waiting for threads that end at the same time: each may use the whole time.

Dramatiq's ``join_all`` subtracts from the time of the next thread what all threads before it took together, so that
the last of many is given up although time is left.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence


def join_all(threads: Iterable[threading.Thread], timeout: float | None) -> bool:
    """Wait at most ``timeout`` seconds until all threads have ended; return whether they have."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    ended = True
    for thread in threads:
        left = deadline - time.monotonic()
        threading.Thread.join(thread, None if timeout is None else max(0.0, left))
        ended = ended and not thread.is_alive()
    return ended


def join_together(threads: Sequence[threading.Thread], *, on_late: Callable[[], None] | None = None) -> None:
    """Make the join of the first thread wait for all of them.

    Dramatiq joins a worker's threads one after the other and gives its whole time to the first. When that has passed,
    ``on_late`` is called; the joins that follow find the threads ended, or wait no longer.
    """

    def join(timeout: float | None = None) -> None:
        if not join_all(list(threads), timeout) and on_late is not None:
            on_late()

    if threads:
        threads[0].join = join  # type: ignore[method-assign]

"""What the tests of an application ask of a queue: wait until it is empty, or empty it."""

import math
import time

from dramatiq.errors import QueueJoinTimeout

from lockstep.deadletters import DeadFilter
from lockstep.draining import left_in, left_of
from lockstep.errors import NotFound
from lockstep.store import Store


def wait_until_empty(store: Store, queue_name: str, *, timeout: float | None, interval: float) -> None:
    """Return when nothing of a queue is scheduled, waits, runs or backs off; dead letters do not count.

    Args:
      store: where the queue is.
      queue_name: the queue; one that nothing was ever sent to is empty.
      timeout: seconds to wait, None: without end.
      interval: seconds between two looks.

    Raises:
      QueueJoinTimeout: something is left; the text tells how much, and what keeps it.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        try:
            if not left_in(store, [queue_name], look=False):
                return
        except NotFound:
            return
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise QueueJoinTimeout(_timed_out(store, queue_name, timeout))
        time.sleep(min(interval, seconds))


def flush(store: Store, queue_name: str) -> None:
    """Remove what is scheduled, waits or backs off in a queue, and its dead letters; what runs ends by itself.

    If the process dies here, the rest stays as it was: flushing again removes it.
    """
    try:
        for _ in store.purges.purge(queue_name):
            pass
        store.dead.discard(DeadFilter(queue=queue_name))
    except NotFound:
        return  # nothing was ever sent to it


def _timed_out(store: Store, queue_name: str, timeout: float | None) -> str:
    left = left_of(store.counts(queue_name), store.groups)
    parts = [f"{number} {state}" for state, number in left.messages.items()]
    return f"queue {queue_name!r} is not empty after {timeout} s: {'; '.join([', '.join(parts), *left.hindrances])}"

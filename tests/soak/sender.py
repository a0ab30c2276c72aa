"""Sends for as long as a soak lasts, whatever happens to Redis, so that workers always have a backlog."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from random import Random
from typing import TypeVar

from lockstep.errors import RedisUnavailable
from tests.support.fault_run import FaultRun

GROUPS, EACH = 50, 40
#: Messages that wait or run at any time: more than workers take between two looks of the sender.
BACKLOG = GROUPS * EACH
#: Seconds that Redis may be away without failing the soak.
_PATIENCE = 60.0

T = TypeVar("T")


def patiently(call: Callable[[], T]) -> T:
    """The answer of a call once Redis can give it; what is sent again has the same id."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return call()
        except RedisUnavailable:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


class Sender:
    """Keeps the backlog full, every group in its turn."""

    def __init__(self, run: FaultRun, rng: Random) -> None:
        self.lowest = (
            BACKLOG  #: the smallest backlog that was seen: at zero, workers would have waited for it
        )
        self._run, self._rng = run, rng
        self._over = threading.Event()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send during the block."""
        self._run.load(GROUPS, EACH, seconds=0.03)
        with ThreadPoolExecutor(1) as pool:
            thread = pool.submit(self._send)
            try:
                yield
            finally:
                self._over.set()
            thread.result()

    def _send(self) -> None:
        groups = cycle(f"g{number}" for number in range(GROUPS))
        while not self._over.wait(0.1):
            left = patiently(self._run.unfinished)
            self.lowest = min(self.lowest, left)
            for _ in range(BACKLOG - left):
                group = next(groups)
                message = self._run.actor.message(group=group, seconds=self._rng.uniform(0.005, 0.05))
                patiently(partial(self._run.submit, message, group))

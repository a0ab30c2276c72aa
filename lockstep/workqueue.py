"""The queue between the consumers of a process and its worker threads.

It takes the place of the one that a Dramatiq worker makes for itself: it is written in C, which a fast actor feels,
and what has not started can be taken back. Messages leave it in the order in which they were claimed.
"""

import time
from queue import SimpleQueue
from typing import Any

from dramatiq.common import iter_queue

from lockstep.claimed import ClaimedMessage
from lockstep.holding import HeldMessages


class WorkQueue(SimpleQueue[Any]):
    """What a Dramatiq worker expects of its ``work_queue``; its items carry a ``message``."""

    def __init__(self, held: HeldMessages) -> None:
        self._held = held

    def take_back(self, queue_name: str, claimed_before: float) -> list[ClaimedMessage]:
        """Remove and answer what a consumer claimed before that ``time.monotonic()`` and no thread has started."""
        back: list[Any] = []
        stay: list[Any] = []
        for item in iter_queue(self):
            message = item.message
            mine = message.queue_name == queue_name and message.claimed_at < claimed_before
            (back if mine else stay).append(item)
        for item in stay:
            self.put(item)
        return [item.message for item in back]

    @property
    def unfinished_tasks(self) -> int:
        """Messages that this process holds."""
        return len(self._held)

    def task_done(self) -> None:
        """Nothing: a message is done when its lease is settled."""

    def join(self) -> None:
        """Wait until this process holds nothing."""
        while self.unfinished_tasks:
            time.sleep(0.005)

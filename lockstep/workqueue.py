"""The queue between the consumers of a process and its worker threads.

It takes the place of the one that a Dramatiq worker makes for itself: what has not started can be taken back, and
neither side takes a lock that a fast actor would feel. Messages leave it in the order in which they were claimed.

``queue.SimpleQueue`` is no alternative: in CPython 3.11 and 3.12 a ``get`` with a timeout may never return.
"""

import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty
from typing import Any

from dramatiq.common import iter_queue

from lockstep.claimed import ClaimedMessage
from lockstep.holding import HeldMessages


class WorkQueue:
    """What a Dramatiq worker expects of its ``work_queue``; its items carry a ``message``.

    Each idle thread waits for a lock of its own, with a timeout that the lock itself keeps. A ``put`` wakes one of
    them, and that one wakes the next while items are left. So a thread that is busy is never woken, and a burst of
    items costs no more wake-ups than there are threads that get one. Each step is one atomic operation of a deque.
    """

    def __init__(self, held: HeldMessages) -> None:
        self._held = held
        self._items: deque[Any] = deque()
        self._idle: deque[threading.Lock] = deque()  #: locked; whoever takes one out releases it
        self._waking = False  #: a thread was woken and has not looked yet

    def put(self, item: Any) -> None:
        """Add an item, and wake a thread for it."""
        self._items.append(item)
        if self._idle and not self._waking:
            self._wake_one()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the first item; wait for one at most ``timeout`` seconds.

        Raises:
          Empty: there is none, or there was none in time.
        """
        try:
            return self._items.popleft()
        except IndexError:
            if not block:
                raise Empty from None
        if timeout is not None and timeout < 0:
            raise ValueError("timeout must not be negative")
        return self._wait(timeout)

    def get_nowait(self) -> Any:
        """Remove and return the first item.

        Raises:
          Empty: there is none.
        """
        return self.get(block=False)

    def qsize(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def empty(self) -> bool:
        """Return whether there is no item."""
        return not self._items

    def items(self) -> list[Any]:
        """Return the items now, in order; they stay."""
        return list(self._items)

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

    def _wait(self, timeout: float | None) -> Any:
        """Return the next item that is put; ``timeout`` in seconds, None: wait for ever."""
        left = -1.0 if timeout is None else timeout
        deadline = time.monotonic() + left
        while True:
            self._sleep(left)
            try:
                item = self._items.popleft()
            except IndexError:  # there is none, or another thread was faster
                if timeout is None:
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Empty from None
                continue
            if self._items and self._idle:
                self._wake_one()
            return item

    def _sleep(self, seconds: float) -> None:
        """Return when there is an item, when this thread was woken, or after that time."""
        lock = threading.Lock()
        lock.acquire()
        woken = False
        try:
            self._idle.append(lock)
            # Look again: an item that came before the line above has woken nobody.
            woken = not self._items and lock.acquire(timeout=seconds)
        finally:  # also of an interrupt: nobody may take this thread for one that waits
            if not woken:
                with suppress(ValueError):  # somebody woke it at the same moment
                    self._idle.remove(lock)
            self._waking = False

    def _wake_one(self) -> None:
        while True:
            self._waking = True  # before the lock is taken: its thread may time out and clear this at once
            try:
                self._idle.pop().release()
            except IndexError:
                self._waking = False
                if self._items and self._idle:
                    continue  # a put saw the mark, and left to this thread one that began to wait just now
            return

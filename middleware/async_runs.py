"""The run of an async actor: its coroutine on the event loop, and the worker thread that waits for its end.

Dramatiq's own wait ends one second after an interrupt, although the coroutine may still clean up. Here it ends when
the work has ended: the coroutine, each task that it waited for (also through ``gather``, ``wait`` or ``shield``, which
may end before their tasks), and each function that it handed to the loop's own executor (``asyncio.to_thread``).
A task that nobody waited for is not known to be work of the message, like a thread that an actor starts.
"""

import asyncio
import functools
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Final

from lockstep.forks import end_child

#: Seconds between two moments at which an interrupt of a waiting worker thread is noticed.
_POLL_SECONDS: Final = 0.1


class AsyncRun:
    """One coroutine and what it waits for. The worker thread calls ``wait``, and the event loop all other methods."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Awaitable[Any]) -> None:
        self.ended = False
        self.interrupt: BaseException | None = None  #: the last one that hit the worker thread
        self._loop = loop
        self._work = work
        self._process = os.getpid()
        self._main: RunTask | None = None
        self._begun = False
        self._failure: BaseException | None = None
        self._pending: set[Any] = set()  #: tasks and futures that have not ended
        self._end = threading.Lock()  # no Condition: an interrupt inside one could leave its lock held
        self._end.acquire()

    def wait(self) -> None:
        """Return when everything has ended. An interrupt of this thread cancels, and is kept in ``interrupt``."""
        asked: BaseException | None = None
        while not self.ended:
            try:
                if not self._begun:
                    self._loop.call_soon_threadsafe(self.begin)
                    self._begun = True
                if self.interrupt is not asked:
                    asked = self.interrupt
                    self._loop.call_soon_threadsafe(self.cancel)
                while not self.ended:
                    self._end.acquire(timeout=_POLL_SECONDS)
            except BaseException as error:
                self.interrupt = error

    def begin(self) -> None:
        """Start the coroutine, unless an interrupt of ``wait`` made it call this a second time."""
        if self._main is None:
            self._main = RunTask(self._contained(), loop=self._loop)
            self.include(self._main)

    def cancel(self) -> None:
        """Cancel the coroutine, or, once it has ended, what it left running."""
        if self._main is not None and not self._main.done():
            self._main.cancel()
            return
        for pending in list(self._pending):
            pending.cancel()

    def include(self, task: "RunTask") -> None:
        """Wait for a task, too."""
        if task in self._pending or task.done():
            return
        task.run = task.run or self
        self._pending.add(task)
        asyncio.Task.add_done_callback(task, self._on_done)

    def include_future(self, future: "Future[Any]") -> None:
        """Wait for a function in a thread, too."""
        self._pending.add(future)
        future.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._on_done, done))

    def fail(self, error: BaseException) -> None:
        """End the run: its event loop is gone, and nothing of it can run again."""
        self._failure = error
        self._finish()

    def result(self) -> Any:
        """Return what the coroutine returned, or raise what ended it.

        One that was cancelled by an interrupt raises that interrupt, also when it returned all the same, unless it
        said by ``asyncio.current_task().uncancel()`` that it has dealt with the cancellation.
        """
        main, interrupt, failure = self._main, self.interrupt, self._failure
        self._main = self.interrupt = self._failure = None
        try:
            if failure is not None or main is None:
                raise failure or RuntimeError("the event loop did not start the coroutine")
            if main.cancelled():
                raise interrupt or CancelledError
            if (failure := main.exception()) is not None:
                raise failure
            if interrupt is not None and main.cancelling():
                raise interrupt
            return main.result()
        finally:
            del main, interrupt, failure  # or the traceback and its exception keep each other in memory

    async def _contained(self) -> Any:
        try:
            try:
                return await self._work
            finally:
                if (
                    self._process != os.getpid()
                ):  # in a child that the coroutine forked, no thread waits for it
                    end_child(sys.exception())
        except (SystemExit, KeyboardInterrupt) as error:  # these would end the event loop of all actors
            self._failure = error

    def _on_done(self, ended: Any) -> None:
        self._pending.discard(ended)
        if not self._pending:
            self._finish()

    def _finish(self) -> None:
        if not self.ended:
            close = getattr(self._work, "close", None)
            if close is not None and self._failure is None:
                close()  # it never started, or has ended
            self.ended = True
            self._end.release()


class RunTask(asyncio.Task[Any]):
    """A task that is part of a run once a task of that run waits for it."""

    run: AsyncRun | None = None

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        """Note who waits: asyncio itself adds a callback for that."""
        run = _current_run()
        if run is not None and _waits(fn):
            run.include(self)
        super().add_done_callback(fn, context=context)


class RunExecutor(ThreadPoolExecutor):
    """The executor of an event loop; its functions are part of the run whose task hands them over."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Start a function in a thread."""
        future = super().submit(fn, *args, **kwargs)
        run = _current_run()
        if run is not None:
            run.include_future(future)
        return future


def make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> RunTask:
    """Make a task; the task factory of the event loop."""
    return RunTask(work, loop=loop, **options)


def _current_run() -> AsyncRun | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # not in an event loop
        return None
    return task.run if isinstance(task, RunTask) else None


def _waits(callback: Any) -> bool:
    """Whether a callback is asyncio's own: of ``await``, ``gather``, ``wait``, ``shield`` or a task group."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    module = getattr(callback, "__module__", None) or type(callback).__module__
    return isinstance(owner, asyncio.Task) or module.partition(".")[0] in ("asyncio", "_asyncio")

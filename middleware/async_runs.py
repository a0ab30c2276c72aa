"""The run of an async actor: its coroutine on the event loop, and the worker thread that waits for its end.

Dramatiq's own wait ends one second after an interrupt, although the coroutine may still clean up. Here it ends when
the work has ended: the coroutine, each task that it waited for (also through ``gather``, ``wait`` or ``shield``, which
may end before their tasks), and each function that it handed to an executor through the loop (``asyncio.to_thread``,
``loop.run_in_executor``).
A task that nobody waited for is not known to be work of the message, like a thread that an actor starts.
"""

import asyncio
import functools
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any, Final
from weakref import WeakSet

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

    def include(self, part: "RunTask | Future[Any]") -> None:
        """Wait for a task, or for a function in an executor, too."""
        if part in self._pending or part.done():
            return
        self._pending.add(part)
        if isinstance(part, RunTask):
            part.run = part.run or self
            asyncio.Task.add_done_callback(part, self._on_done)
            for needed in part.take_needed():
                self.include(needed)
        else:
            part.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._on_done, done))

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
    _needed: "WeakSet[Any] | None" = None  #: what it waited for before it was part of a run

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        """Note who waits: asyncio itself adds a callback for that."""
        task = _current_task()
        if task is not None and _waits(fn):
            task.need(self)
        super().add_done_callback(fn, context=context)

    def need(self, part: "RunTask | Future[Any]") -> None:
        """Note that this task waits for another one, or for a function in an executor."""
        if self.run is not None:
            self.run.include(part)
            return
        if self._needed is None:
            self._needed = WeakSet()
        self._needed.add(part)

    def take_needed(self) -> "list[Any]":
        """Return what this task waited for before it was part of a run."""
        needed, self._needed = list(self._needed or ()), None
        return needed


class RunExecutor(ThreadPoolExecutor):
    """The default executor of an event loop; its functions are part of the run whose task hands them over."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Start a function in a thread."""
        return _noted(super().submit(fn, *args, **kwargs))


class _Submitter:
    """Hands functions to an executor of the application, as parts of the run whose task does it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        return _noted(self._executor.submit(fn, *args))


def follow_executors(loop: Any) -> None:
    """Let functions that tasks hand to any executor by ``loop.run_in_executor`` be parts of their runs."""
    hand_over = loop.run_in_executor

    def run_in_executor(executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        if executor is None:  # an application may have replaced the default
            executor = getattr(loop, "_default_executor", None)
        if executor is not None and not isinstance(executor, RunExecutor):
            executor = _Submitter(executor)
        return hand_over(executor, func, *args)

    loop.run_in_executor = run_in_executor


def make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> RunTask:
    """Make a task; the task factory of the event loop."""
    return RunTask(work, loop=loop, **options)


def _noted(future: "Future[Any]") -> "Future[Any]":
    task = _current_task()
    if task is not None:
        task.need(future)
    return future


def _current_task() -> RunTask | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # not in an event loop
        return None
    return task if isinstance(task, RunTask) else None


def _waits(callback: Any) -> bool:
    """Whether a callback is asyncio's own: of ``await``, ``gather``, ``wait``, ``shield`` or a task group."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    module = getattr(callback, "__module__", None) or type(callback).__module__
    return isinstance(owner, asyncio.Task) or module.partition(".")[0] in ("asyncio", "_asyncio")

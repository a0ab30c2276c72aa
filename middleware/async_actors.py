"""The event loop of async actors. One thread runs it; worker threads wait there for the coroutines of their actors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from dramatiq import middleware as dramatiq_middleware
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread

from lockstep import logs
from middleware.async_runs import AsyncRun, RunExecutor, follow_executors, make_task

log = logs.get_logger("lockstep.event_loop")

#: Seconds that a busy machine may take to start a thread.
_START_SECONDS: Final = 30.0

#: Seconds that tasks have to end when the last worker has stopped.
_END_SECONDS: Final = 1.0


class AsyncIO(dramatiq_middleware.AsyncIO):
    """Runs async actors; Dramatiq's own would let the next message of a group start while one still cleans up."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Start the event loop."""
        loop = ActorLoop(self.logger, lambda: broker.give_up("the event loop of async actors has ended"))
        loop.start(timeout=_START_SECONDS)
        set_event_loop_thread(loop)

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """Stop the event loop, once nothing runs on it."""
        loop = get_event_loop_thread()
        set_event_loop_thread(None)
        if loop is not None:
            loop.stop()


class ActorLoop(EventLoopThread):
    """A thread with an event loop that survives what its tasks raise."""

    def __init__(self, logger: Any, on_death: Callable[[], None]) -> None:
        """``on_death`` is called when the loop has ended although nobody stopped it."""
        super().__init__(logger)
        self.name, self.daemon = "event-loop", True  # a process that ends does not wait for it
        self._on_death = on_death
        self._runs: set[AsyncRun] = set()
        self._retired = False  #: it stops when the last run has ended
        self._stopping = False
        self._executor = RunExecutor(thread_name_prefix="asyncio")
        self.loop.set_task_factory(make_task)
        self.loop.set_default_executor(self._executor)
        follow_executors(self.loop)

    def run(self) -> None:
        """Run the loop until ``stop``, whatever an actor does to end it, such as ``loop.stop()`` or ``sys.exit()``."""
        try:
            while not self._stopping:
                try:
                    self.loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    log.error("event_loop.interrupted", exc_info=True)
        except BaseException:
            log.critical("event_loop.died", exc_info=True)
        finally:
            died = not self._stopping
            self._stopping = True
            for run in list(self._runs):
                run.fail(RuntimeError("the event loop has ended"))
            self._executor.shutdown(wait=False)
            self.loop.close()
            if died:
                self._on_death()

    def stop(self) -> None:
        """Stop when no run is left. Wait for that only if there is none: the caller decides about those that run."""
        if self._stopping:
            return
        self._retired = True
        self.loop.call_soon_threadsafe(self._stop_if_idle)
        if not self._runs:
            self.join(2 * _END_SECONDS)

    def run_coroutine(self, coro: Awaitable[Any]) -> Any:
        """Run a coroutine, and return its result when it, and what it waited for, has really ended.

        An interrupt of the calling thread cancels it; a second one cancels it again, or what it left running. However
        long the end takes, the caller keeps waiting, so the lease of its message is renewed and its group is closed.

        Raises:
          RuntimeError: the event loop has ended.
        """
        if self._stopping or not self.is_alive():
            getattr(coro, "close", int)()
            raise RuntimeError("Event loop is not running.")
        run = AsyncRun(self.loop, coro)
        self._runs.add(run)
        try:
            try:
                run.wait()
            except BaseException as error:  # an interrupt between two steps of the wait
                run.interrupt = error
                run.wait()
                raise
            return run.result()
        finally:
            self._runs.discard(run)
            if self._retired and not self._stopping:
                self.loop.call_soon_threadsafe(self._stop_if_idle)
            del run  # or an exception, its traceback and its run keep each other in memory

    def _stop_if_idle(self) -> None:
        if not self._runs and not self._stopping:
            self._stopping = True
            self._last = self.loop.create_task(self._end_tasks())

    async def _end_tasks(self) -> None:
        try:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=_END_SECONDS)
            await self.loop.shutdown_asyncgens()
        finally:
            self.loop.stop()

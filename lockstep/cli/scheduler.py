"""``lockstep scheduler``: fires periodic actors, in the foreground."""

import os
import signal
import time
from contextlib import suppress
from types import FrameType
from typing import Final

import typer

from lockstep import logs
from lockstep.cli.common import check_schema, settings_with_redis
from lockstep.errors import ImportFailed, LockstepError
from lockstep.modules import check_actor_modules, import_actors, place_of
from lockstep.parent import die_with_parent
from lockstep.processes import ProcessType
from lockstep.reporting import Reporter, identity
from lockstep.service import EXIT_BROKEN
from lockstep.signals import STOPS, ignore_stops

#: Seconds that it may take to end after a signal, when Redis is silent; the work of a turn is safe to repeat.
_GRACE: Final = 0.5

#: Of these, those that are left for being forgotten at once.
_LEAVE: Final = 0.1

_log = logs.get_logger("lockstep.scheduler")


def scheduler() -> None:
    """Run a scheduler of the periodic actors. Any number of them may run: each tick has one message.

    SIGTERM, SIGHUP and Ctrl-C end it in order.
    """
    asked = _Asked()
    settings = settings_with_redis()
    check_actor_modules(settings)
    logs.configure(settings)
    check_schema(settings)
    if "SUPERVISOR_ENABLED" in os.environ:
        # A supervisord that starts anew would start a second one beside an orphan.
        die_with_parent()
    raise typer.Exit(_run(asked))


class _Asked:
    """Notes that a signal asked this process to stop. A second one means nothing new."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for signum in STOPS:
            signal.signal(signum, self._note)

    def wait(self) -> None:
        """Return when it was asked."""
        os.read(self._read, 1)

    def end(self) -> None:
        """As if it was asked."""
        self._note(0, None)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # it was asked thousands of times
            os.write(self._write, b"x")


def _run(asked: _Asked) -> int:
    from lockstep.scheduler import Scheduler, SchedulerThread, declared  # noqa: PLC0415

    try:
        broker = import_actors().broker  # reads the settings, which may just have got a Redis
    except LockstepError:
        raise
    except Exception as error:  # an expression that periodiq itself refuses, or whatever else a module does
        raise ImportFailed(f"the actors cannot be imported: {place_of(error)}") from None
    schedules = declared(broker)
    for schedule in schedules:
        _log.info(
            "schedule.declared",
            actor=schedule.actor,
            expression=schedule.expression,
            catch_up=str(schedule.catch_up),
        )
    thread = SchedulerThread(Scheduler(broker, schedules), asked.end)
    process = identity(ProcessType.SCHEDULER, broker.owner, broker.settings)
    reporter = Reporter(broker.store.processes, process, lambda _: thread.look())
    reporter.start()
    thread.start()
    _log.info("scheduler.started", schedules=len(schedules))
    asked.wait()
    ignore_stops()
    until = time.monotonic() + _GRACE
    thread.stop()
    reporter.wake()
    thread.join(_GRACE - _LEAVE)
    reporter.leave(until - time.monotonic())
    _log.info("scheduler.stopped")
    return EXIT_BROKEN if thread.broken else 0

"""Fires what is due: the loop of ``lockstep scheduler``. Any number of them may run; each tick has one message."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import dramatiq
from dramatiq.middleware import MiddlewareError

from lockstep import cron, logs
from lockstep.broker import LockstepBroker
from lockstep.errors import (
    InvalidOption,
    LockstepError,
    NotFound,
    RedisUnavailable,
    ScriptFailed,
    http_status,
)
from lockstep.failures import Failures
from lockstep.processes import ProcessState
from lockstep.records import Accepted
from lockstep.reporting import Look
from lockstep.schedules import LATE_MS, MAX_SCHEDULES, CatchUp, Mark, Schedule, tick_id
from lockstep.views import rfc3339

log = logs.get_logger("lockstep.scheduler")

#: Seconds between two signs of life.
BEAT_SECONDS: Final = 2.0

#: Missed ticks of one schedule that are fired at most, the latest ones; all of them fit into one batch.
CATCH_UP_LIMIT: Final = 1000

#: Milliseconds of a claim, beside the time that Redis may take to answer twice.
_CLAIM_MS: Final = 10_000

#: Seconds until ticks are looked at again that could not be decided.
_AGAIN_SECONDS: Final = 1.0

#: Statuses of errors that pass by themselves: intake is off, a queue is full.
_PASSING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def declared(broker: dramatiq.Broker) -> list[Schedule]:
    """The schedules of all periodic actors of a broker, by name.

    Raises:
      InvalidOption: there are too many.
    """
    found = [
        Schedule(name, actor.options["periodic"].expression, actor.options["catch_up"])
        for name, actor in sorted(broker.actors.items())
        if actor.options.get("periodic") is not None
    ]
    if len(found) > MAX_SCHEDULES:
        raise InvalidOption(f"periodic: expected at most {MAX_SCHEDULES} schedules, got {len(found)}")
    return found


def _passes(error: Exception) -> bool:
    """Whether messages are refused for a while only, and nothing was written."""
    if isinstance(error, RedisUnavailable) or not isinstance(error, LockstepError):
        return False
    return http_status(error) in _PASSING


def decide(catch_up: CatchUp | str, due: Sequence[int], now_ms: int) -> list[int]:
    """Which of the ticks that are due to fire.

    One that is alone and hardly late is in time: the scheduler was only restarted, or another took over. Of more than
    that, the policy decides.
    """
    in_time = len(due) == 1 and now_ms - due[0] <= LATE_MS
    if in_time or catch_up is CatchUp.ALL:
        return list(due[-CATCH_UP_LIMIT:])
    return list(due[-1:]) if catch_up is CatchUp.LAST else []


class Scheduler:
    """Fires the ticks of some schedules, by the clock of the server alone."""

    def __init__(self, broker: LockstepBroker, schedules: Sequence[Schedule]) -> None:
        self.name = broker.owner  #: what it is called in records
        self._broker = broker
        self._shared = broker.store.schedules
        self._schedules = schedules
        self._next: dict[tuple[str, int], int] = {}  # expression and mark -> the first tick after it
        self.fired = 0  #: ticks, so far
        self._waiting: set[str] = set()  # actors whose ticks cannot be sent now, as was told
        self._claim_ms = _CLAIM_MS + int(broker.settings.redis_timeout * 2000)

    def run_once(self) -> float:
        """Fire what is due; answers the seconds until the next turn.

        A schedule that fails holds up no other.

        Raises:
          RedisUnavailable, ScriptFailed: of at least one schedule; what is due there stays due.
        """
        asked_at = time.monotonic()
        now_ms, marks = self._shared.beat(self.name, self._schedules)
        known, self._next = self._next, {}
        wait, failed = BEAT_SECONDS, None
        for schedule, mark in zip(self._schedules, marks, strict=True):
            key = (schedule.expression, mark.ms)
            tick = self._next[key] = known.get(key) or cron.next_tick(*key)
            try:
                if tick > now_ms:
                    wait = min(wait, (tick - now_ms) / 1000 + 0.001)
                elif mark.claimed or not self._fire(schedule, mark, now_ms):
                    wait = min(wait, _AGAIN_SECONDS)
                else:
                    wait = 0.0  # the next tick is known from the new mark
            except (RedisUnavailable, ScriptFailed) as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return max(0.0, wait - (time.monotonic() - asked_at))

    def leave(self) -> None:
        """Say that this scheduler stops; if Redis is away, it is forgotten soon by itself."""
        with suppress(LockstepError):
            self._shared.leave(self.name)

    def _fire(self, schedule: Schedule, mark: Mark, now_ms: int) -> bool:
        """Decide about the ticks of one schedule that are due; answers whether they are decided."""
        due = cron.ticks_between(schedule.expression, mark.ms, now_ms, CATCH_UP_LIMIT + 1)
        claimed_at = time.monotonic()
        if not self._shared.fire(schedule, mark, due[-1], self.name, self._claim_ms):
            return False
        fired, why = decide(schedule.catch_up, due, now_ms), "missed"
        # The process dies here, or an answer is lost: the claim ends, and whoever is next sends the same ids.
        try:
            accepted = self._send(schedule, fired, claimed_at)
        except (RedisUnavailable, ScriptFailed):
            raise
        except (LockstepError, MiddlewareError) as error:
            if _passes(error):
                self._wait(schedule, due, error)
                return False
            fired, accepted, why = [], [], str(error)
        if accepted is None:
            return False
        if len(accepted) < len(fired):  # the others stay due
            fired = fired[: len(accepted)]
            due = [tick for tick in due if tick <= fired[-1]]
        # The process dies here: the same ids are sent again, and are known.
        message_id = accepted[-1].id if accepted else ""
        fired_ms = fired[-1] if fired else None
        self._shared.mark(schedule, due[-1], self.name, fired_ms=fired_ms, message_id=message_id)
        self._tell(schedule, due, fired, why)
        return True

    def _send(self, schedule: Schedule, ticks: Sequence[int], claimed_at: float) -> list[Accepted] | None:
        """Enqueue the messages of ticks, or of the first; None: the claim may have ended, so another may have."""
        messages = [self._message(schedule, tick) for tick in ticks]
        if (time.monotonic() - claimed_at) * 1000 > self._claim_ms:
            return None  # this process stood still
        try:
            return self._broker.enqueue_many(messages) if messages else []
        except LockstepError as error:
            if len(messages) == 1 or not _passes(error):
                raise
            # A queue that is nearly full has no room for all of them at once, and may never have.
            return self._broker.enqueue_many(messages[:1])

    def _message(self, schedule: Schedule, tick_ms: int) -> "dramatiq.Message[Any]":
        actor = self._broker.get_actor(schedule.actor)
        message_id = tick_id(schedule.actor, tick_ms)
        return actor.message_with_options(message_id=message_id, scheduled_at=rfc3339(tick_ms))

    def _wait(self, schedule: Schedule, due: Sequence[int], error: Exception) -> None:
        """Nothing is decided: once messages are accepted again, the policy says what becomes of the ticks."""
        if schedule.actor not in self._waiting:
            self._waiting.add(schedule.actor)
            log.warning("schedule.waiting", actor=schedule.actor, tick=rfc3339(due[-1]), why=str(error))

    def _tell(self, schedule: Schedule, due: Sequence[int], fired: Sequence[int], why: str) -> None:
        self._waiting.discard(schedule.actor)
        actor = schedule.actor
        skipped = [tick for tick in due if tick not in set(fired)]
        if skipped:
            ticks = {"first": rfc3339(skipped[0]), "last": rfc3339(skipped[-1]), "ticks": len(skipped)}
            log.warning("schedule.skipped", actor=actor, why=why, catch_up=str(schedule.catch_up), **ticks)
        self.fired += len(fired)
        for tick in fired:
            log.info("schedule.fired", actor=actor, tick=rfc3339(tick), message_id=tick_id(actor, tick))


class SchedulerThread(threading.Thread):
    """Turns a scheduler until it is told to stop; waits while Redis is away.

    Any other error of a turn is logged, and the turn tried again; the process ends when that happens too often.
    """

    def __init__(self, scheduler: Scheduler, on_death: Callable[[], None]) -> None:
        super().__init__(name="scheduler", daemon=True)
        self.broken = False  #: it ended by a defect, of which ``on_death`` was told
        self.beating = False  #: Redis answered the last turn
        self._scheduler = scheduler
        self._on_death = on_death
        self._stopped = threading.Event()
        self.failures = Failures("scheduler.failed")
        self._away_since = 0.0
        self._delay = 0.0

    def stop(self) -> None:
        """End after the turn that runs."""
        self._stopped.set()

    def look(self) -> Look:
        """What this process does: it is ready from the first turn on."""
        if self._stopped.is_set():
            state = ProcessState.DRAINING
        else:
            state = ProcessState.READY if self.beating else ProcessState.STARTING
        return Look(state, done=self._scheduler.fired)

    def run(self) -> None:
        """The loop."""
        wait = 0.0
        try:
            while not self._stopped.wait(wait):
                try:
                    wait = self._turn()
                    self.failures.clear()
                except BaseException:  # also SystemExit, which would end this thread without a word
                    self.beating = False
                    self.failures.note()
                    if self.failures.hopeless:
                        raise
                    wait = self.failures.pause
            self._scheduler.leave()
        except BaseException:
            log.critical("scheduler.died", exc_info=True)
            self.broken = True
            self._on_death()

    def _turn(self) -> float:
        try:
            wait = self._scheduler.run_once()
        except (RedisUnavailable, ScriptFailed) as error:
            self.beating = False
            if not self._away_since:
                self._away_since = time.monotonic()
                log.error("redis.lost", error=str(error))
            self._delay = min(1.0, self._delay * 2 or 0.05)
            return self._delay
        self.beating = True
        if self._away_since:
            log.info("redis.back", seconds=round(time.monotonic() - self._away_since, 3))
            self._away_since = self._delay = 0.0
        return wait


def send_now(broker: LockstepBroker, name: str) -> tuple["dramatiq.Message[Any]", Accepted]:
    """Send a periodic actor at once, beside its ticks: its schedule goes on as if nothing was.

    Raises:
      NotFound: no periodic actor of that name is registered here.
    """
    actor = broker.actors.get(name)
    if actor is None or actor.options.get("periodic") is None:
        raise NotFound("schedule", name)
    message = actor.message()
    return message, broker.submit(message)

"""Rate and concurrency limits: what actors declare of them, and that a start is counted when it happens.

The scripts decide which messages start (``claim``), so a message that must wait is not even claimed. When Redis is
away here, the message is put back at its place: what is not counted does not start.
"""

import time
from typing import Any, Final

from dramatiq.middleware import Middleware, SkipMessage

from lockstep import logs
from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.limitstore import Declared
from lockstep.rates import parse_limit
from lockstep.service import keep_trying
from lockstep.settings import Settings
from lockstep.states import Verb
from middleware.group_mutex import UNANSWERED_MS

#: Seconds between two tries to declare limits while Redis is away.
_PAUSE_SECONDS: Final = 0.5

#: How often a start is dated anew before the message is put back: Redis or this process is too slow for the limit.
_TRIES: Final = 5


log = logs.get_logger("lockstep.limits")


class RateLimits(Middleware):
    """Declares the limits of actors and settings, and keeps a start near the time at which it was counted."""

    guards = True  #: no worker starts when its boot hook fails

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def actor_options(self) -> set[str]:
        """``rate_limit``, ``rate_limit_key``, ``concurrency`` and ``group_concurrency``."""
        return {"rate_limit", "rate_limit_key", "concurrency", "group_concurrency"}

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Say what is declared here, before anything is claimed by it."""
        broker.hold_back("limits")
        try:
            self._declare(broker)
        except (RedisUnavailable, ScriptFailed) as error:
            log.error("redis.lost", waits="to declare its limits, before it claims", error=str(error))
            keep_trying("limits", lambda: self._declare_later(broker), _PAUSE_SECONDS, broker.give_up)
        else:
            broker.let_go("limits")

    def _declare(self, broker: Any) -> None:
        declared = {name: declared_by(actor) for name, actor in broker.actors.items()}
        settings = self._settings
        unset = broker.store.limits.declare(declared, settings.rate_limits, settings.concurrency_limits)
        for actor, one in declared.items():
            for name in unset.intersection(one.names):
                # Operators may set it at any time, so it is no error. A misspelled rate looks the same.
                log.warning(
                    "limit.not_set", actor=actor, limit=name, hint="nobody has set its rate or concurrency"
                )

    def _declare_later(self, broker: Any) -> bool:
        """Try again; answers whether there is nothing left to do."""
        if broker.stopping:
            return True
        try:
            self._declare(broker)
        except (RedisUnavailable, ScriptFailed):
            return False
        log.info("redis.back", declared="limits")
        broker.let_go("limits")
        return True

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Start at the time that the limits count, or put the message back."""
        delay_ms = 0
        for _ in range(_TRIES):
            if time.monotonic() <= message.start_by:
                return
            asked_at = time.monotonic()
            try:
                within_ms = broker.store.start(message.exchange.shard, message.lease.ref, message.lease.token)
            except (RedisUnavailable, ScriptFailed):
                delay_ms = UNANSWERED_MS
                break
            if not within_ms:
                break
            message.start_by = asked_at + within_ms / 2000
        # If it was counted, it is not any more: the release takes that back.
        message.settle(Verb.RELEASE, delay_ms=delay_ms)
        raise SkipMessage("not started: too late for the limit that counted it")


def declared_by(actor: Any) -> Declared:
    """What the options of an actor say of limits; they were checked when it was declared."""
    given: object = actor.options.get("rate_limit")
    rates, names = ((), ()) if given is None else parse_limit(given)
    return Declared(rates, actor.options.get("concurrency"), names)

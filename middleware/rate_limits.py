"""Rate and concurrency limits: what actors declare of them, and that a start is counted when it happens.

The scripts decide which messages start (``claim``), so a message that must wait is not even claimed. When Redis is
away here, the message is put back at its place: what is not counted does not start.
"""

import threading
import time
from typing import Any, Final

from dramatiq.middleware import Middleware, SkipMessage

from lockstep import logs
from lockstep.errors import RedisUnavailable
from lockstep.limitstore import Declared
from lockstep.rates import parse_limit
from lockstep.settings import Settings
from lockstep.states import Verb

#: Seconds between two tries to declare limits while Redis is away.
_PAUSE_SECONDS: Final = 0.5

#: How often a start is dated anew before the message is put back: Redis or this process is too slow for the limit.
_TRIES: Final = 5


log = logs.get_logger("lockstep.limits")


class RateLimits(Middleware):
    """Declares the limits of actors and settings, and keeps a start near the time at which it was counted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def actor_options(self) -> set[str]:
        """``rate_limit``, ``rate_limit_key``, ``concurrency`` and ``group_concurrency``."""
        return {"rate_limit", "rate_limit_key", "concurrency", "group_concurrency"}

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Say what is declared here, before anything is claimed by it."""
        try:
            self._declare(broker)
        except RedisUnavailable as error:
            log.error("redis.lost", waits="to declare its limits, before it claims", error=str(error))
            broker.hold_back("limits")
            threading.Thread(target=self._declare_later, args=(broker,), name="limits", daemon=True).start()

    def _declare(self, broker: Any) -> None:
        declared = {name: declared_by(actor) for name, actor in broker.actors.items()}
        settings = self._settings
        broker.store.limits.declare(declared, settings.rate_limits, settings.concurrency_limits)

    def _declare_later(self, broker: Any) -> None:
        while not broker.stopping:
            broker.pause(_PAUSE_SECONDS)
            try:
                self._declare(broker)
            except RedisUnavailable:
                continue
            log.info("redis.back", declared="limits")
            broker.let_go("limits")
            return

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Start at the time that the limits count, or put the message back."""
        for _ in range(_TRIES):
            if time.monotonic() <= message.start_by:
                return
            asked_at = time.monotonic()
            try:
                within_ms = broker.store.start(message.exchange.shard, message.lease.ref, message.lease.token)
            except RedisUnavailable:
                break
            if not within_ms:
                break
            message.start_by = asked_at + within_ms / 2000
        # If it was counted, it is not any more: the release takes that back.
        message.settle(Verb.RELEASE)
        raise SkipMessage("not started: too late for the limit that counted it")


def declared_by(actor: Any) -> Declared:
    """What the options of an actor say of limits; they were checked when it was declared."""
    given: object = actor.options.get("rate_limit")
    rates, names = ((), ()) if given is None else parse_limit(given)
    return Declared(rates, actor.options.get("concurrency"), names)

"""Rate and concurrency limits: what actors declare of them, and that a start is counted when it happens.

The scripts decide which messages start (``claim``), so a message that must wait is not even claimed. When Redis is
away here, the message is put back at its place: what is not counted does not start.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from dramatiq.middleware import Middleware, SkipMessage

from lockstep import logs
from lockstep.errors import InvalidOption, RedisUnavailable
from lockstep.limitstore import Declared
from lockstep.rates import MAX_COUNT, is_name, parse_rates
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

    def before_declare_actor(self, broker: Any, actor: Any) -> None:
        """Raises InvalidOption for a limit that is none."""
        declared_by(actor)
        _check_number(actor, "group_concurrency")
        key: object = actor.options.get("rate_limit_key")
        if key is not None and not isinstance(key, str | Callable):
            raise InvalidOption(f"{actor.actor_name}: rate_limit_key: expected a format or a function")

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
    """What the options of an actor say of limits.

    Raises:
      InvalidOption: they are wrong.
    """
    given = actor.options.get("rate_limit") or ()
    try:
        texts = [given] if isinstance(given, str) else list(given)
        names = tuple(text for text in texts if is_name(text))
        rates = parse_rates(text for text in texts if text not in names)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidOption(f"{actor.actor_name}: rate_limit: {error}") from None
    return Declared(rates, _check_number(actor, "concurrency"), names)


def _check_number(actor: Any, option: str) -> int | None:
    value = actor.options.get(option)
    if value is None or (type(value) is int and 1 <= value <= MAX_COUNT):
        return value
    raise InvalidOption(f"{actor.actor_name}: {option}: expected a number from 1 to {MAX_COUNT}")

"""Dramatiq's limits of time, with one meaning of None: no limit, on an actor and on a message."""

import math
import threading
from typing import Any

from dramatiq import middleware as dramatiq_middleware
from dramatiq.common import current_millis


class TimeLimit(dramatiq_middleware.TimeLimit):
    """Interrupts an actor after ``time_limit``; Dramatiq's own would take a message's None as its actor's limit."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Note when the actor is interrupted."""
        limit = _limit_of("time_limit", broker, message, self.time_limit)
        self.manager.add_timeout(  # type: ignore[no-untyped-call]
            threading.get_ident(), math.inf if limit is None else limit
        )


class AgeLimit(dramatiq_middleware.AgeLimit):
    """Refuses to run what is older than ``max_age``; otherwise as ``TimeLimit``."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Raises SkipMessage for a message that is too old."""
        limit = _limit_of("max_age", broker, message, self.max_age)
        if limit is None or current_millis() - message.message_timestamp < limit:
            return
        self.logger.warning("Message %r has exceeded its age limit.", message.message_id)
        message.fail()
        raise dramatiq_middleware.SkipMessage("Message age limit exceeded")


def _limit_of(option: str, broker: Any, message: Any, default: float | None) -> float | None:
    """The limit of a message, else that of its actor, else the default; None: there is none."""
    options = message.options
    if option not in options:
        options = broker.get_actor(message.actor_name).options
    limit: float | None = options.get(option, default)
    return limit

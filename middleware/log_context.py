"""Puts the message on every log line that is written while it runs; never its arguments."""

from typing import Any

import structlog
from dramatiq import Broker
from dramatiq.middleware import Middleware

from lockstep import logs

log = logs.get_logger("lockstep.message")


class LogContext(Middleware):
    """Binds queue, group, message id and attempt to the log lines of an actor."""

    def before_process_message(self, broker: Broker, message: Any) -> None:
        """The message is about to run."""
        structlog.contextvars.bind_contextvars(
            queue=message.queue_name,
            group=message.group,
            message_id=message.message_id,
            attempt=message.attempt,
        )
        log.debug("message.started", actor=message.actor_name)

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """It has run."""
        structlog.contextvars.clear_contextvars()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """It was refused."""
        structlog.contextvars.clear_contextvars()

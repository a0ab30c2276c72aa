"""Dead letters: what surrounds the death of a message that the outcome has decided.

The decision is in its settlement; the settle script makes it a dead letter, under the token. If the process dies
before that, the message runs again and dies then.
"""

from typing import Any, Final

from dramatiq.middleware import Middleware

from lockstep import errorinfo, logs
from lockstep.claimed import ClaimedMessage
from lockstep.results import StoreResults
from lockstep.states import Verb

#: Why a message is dead whose last attempt failed.
ATTEMPTS_EXHAUSTED: Final = "attempts_exhausted"

#: Why a message is dead that a middleware failed without a reason.
REJECTED: Final = "rejected"

log = logs.get_logger("lockstep.message")


class DeadLetters(Middleware):
    """Owns ``on_dead``; logs each death, and keeps its error as the result."""

    decides = True

    @property
    def actor_options(self) -> set[str]:
        """``on_dead``: whether a death lets its group go on."""
        return {"on_dead"}

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """The outcome stands: look whether it is death."""
        self._on_end(broker, message)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """A middleware refused the message, perhaps for good."""
        self._on_end(broker, message)

    def _on_end(self, broker: Any, message: ClaimedMessage) -> None:
        settlement = message.settlement
        if settlement is None or settlement.verb is not Verb.DEAD_LETTER:
            return
        message.fail()
        message.result = None  # of an actor that returned before something else failed
        if message._exception is not None:
            self._attach(broker, message, message._exception)
        encoded, ttl = message.result or (None, 0)
        message.settlement = settlement._replace(result=encoded, result_ttl_ms=ttl)
        kind, fingerprint = errorinfo.kind_of(settlement.error, settlement.reason)
        log.error(
            "message.dead",
            queue=message.queue_name,
            group=message.group,
            message_id=message.message_id,
            actor=message.actor_name,
            reason=settlement.reason,
            error=kind,
            fingerprint=fingerprint,
        )

    def _attach(self, broker: Any, message: ClaimedMessage, error: BaseException) -> None:
        try:
            StoreResults.attach_exception(broker, message, error)
        except Exception:  # an error that cannot be encoded keeps no message alive
            log.exception("middleware.failed", hook="results")

"""Results of actors, stored by the same settle that completes the message.

So a holder that lost its lease leaves no result behind.
"""

from typing import Any

from dramatiq import Broker
from dramatiq.results import ResultBackend, Results
from dramatiq.results.backend import Missing, MResult
from dramatiq.results.result import wrap_exception, wrap_result

from lockstep.checks import MAX_DELAY_MS
from lockstep.claimed import ClaimedMessage
from lockstep.envelope import OrjsonEncoder
from lockstep.store import Store


class StoreResults(ResultBackend):
    """Dramatiq's result backend over the store; ``message.get_result()`` works as usual."""

    def __init__(self, store: Store) -> None:
        super().__init__(encoder=OrjsonEncoder())
        self._records = store

    def store_result(self, message: Any, result: Any, ttl: int) -> None:
        """Hand the result to the settle of ``message``; ``ttl`` in milliseconds.

        Raises:
          TypeError, ValueError: it cannot be encoded, or ``ttl`` is no time; the attempt fails.
        """
        if isinstance(message, ClaimedMessage):
            message.result = (self.encoder.encode(wrap_result(result)), _whole_ms(ttl))

    def store_exception(self, message: Any, exception: Exception, ttl: int) -> None:
        """Hand the error of a dead letter to its settle; ``ttl`` in milliseconds."""
        if isinstance(message, ClaimedMessage):
            message.result = (self.encoder.encode(wrap_exception(exception)), _whole_ms(ttl))

    @staticmethod
    def attach_exception(broker: Broker, message: ClaimedMessage, error: BaseException) -> None:
        """Before a message dies: hand its error to its settle, if its actor stores results."""
        for middleware in broker.middleware:
            if isinstance(middleware, Results):
                stores, ttl = middleware._lookup_options(broker, message)
                if stores:
                    middleware.backend.store_exception(message, error, ttl)

    def build_message_key(self, message: Any) -> Any:
        """What ``_get`` needs to find the result."""
        options = message.options
        return message.queue_name, options.get("group") or options.get("unique_key"), message.message_id

    def _get(self, message_key: Any) -> MResult:
        value = self._records.result(*message_key)
        return Missing if value is None else self.encoder.decode(value)


def _whole_ms(ttl: float) -> int:
    """A time to live that Redis takes."""
    return max(1, min(int(ttl), MAX_DELAY_MS))

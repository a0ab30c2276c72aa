"""Results of actors, stored by the same settle that completes the message.

So a holder that lost its lease leaves no result behind. A caller that waits polls: the actor's side does nothing for
it, and a message that ended in any other way is told from its state.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

from dramatiq import Broker
from dramatiq.common import q_name
from dramatiq.results import ResultBackend, ResultFailure, ResultMissing, Results, ResultTimeout
from dramatiq.results.backend import DEFAULT_TIMEOUT
from dramatiq.results.result import unwrap_result, wrap_exception, wrap_result

from lockstep.checks import MAX_DELAY_MS
from lockstep.claimed import ClaimedMessage
from lockstep.envelope import OrjsonEncoder
from lockstep.keys import ShardKeys
from lockstep.resultstore import Ending, ResultStore
from lockstep.states import MessageState
from lockstep.store import Store

#: Seconds between two polls: a tenth of the time waited so far, within these limits.
_SHORTEST_POLL: Final = 0.01
_LONGEST_POLL: Final = 0.25

#: How a message ended that neither returned nor raised, and what its waiter is told.
_ENDINGS: Final = {
    "cancelled": "the message was cancelled",
    "purged": "the message was purged before it ran",
    "discarded": "the message was a dead letter and was discarded",
}


class StoreResults(ResultBackend):
    """Dramatiq's result backend over the store; ``message.get_result()`` works as usual."""

    def __init__(self, store: Store) -> None:
        super().__init__(encoder=OrjsonEncoder())
        self._records = store.results

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

    def get_result(self, message: Any, *, block: bool = False, timeout: int | None = None) -> Any:
        """Return the result of a message; with ``block``, wait for it up to ``timeout`` milliseconds (10 seconds).

        Raises:
          ResultFailure: the message ended in any other way than done, or an earlier step of its pipeline did;
            raised at once, also while waiting.
          ResultMissing: there is no result, and without ``block`` that may be because it is not there yet. With
            ``block``: the message ended, and its result was never stored or has expired; or an earlier step of its
            pipeline was skipped, and the message was never sent.
          ResultTimeout: the message has not ended, or nothing is known of it, because it was not enqueued yet or
            its record has expired.
        """
        search = _Search.of(self._records, message)
        started = time.monotonic()
        until = started + (DEFAULT_TIMEOUT if timeout is None else timeout) / 1000
        while True:
            ending = search.look()
            if ending is not None and ending.result is not None:
                return unwrap_result(self.encoder.decode(ending.result))
            if ending is None and search.found:
                raise ResultMissing(message)  # the record is gone: it ended since the last look
            if ending is not None:
                _raise_if_ended(message, ending)
            elif (earlier := search.look_at_earlier()) is not None:
                self._raise_if_never_sent(message, earlier, search)
            now = time.monotonic()
            if not block:
                raise ResultMissing(message)
            if now >= until:
                raise ResultTimeout(message)
            pause = min(max((now - started) / 10, _SHORTEST_POLL), _LONGEST_POLL)
            time.sleep(min(pause, until - now))

    def _raise_if_never_sent(self, message: Any, earlier: Ending, search: "_Search") -> None:
        """Raise what an earlier step of a pipeline ended with, when the later steps are never sent."""
        if earlier.state == MessageState.DONE:
            if search.is_left_out():
                raise ResultMissing(message)
            return
        if earlier.result is not None:  # of a dead letter: it raises its error
            unwrap_result(self.encoder.decode(earlier.result))
        _raise_if_ended(message, earlier)


class _Search:
    """Looks for one message, and remembers which shard knows it."""

    def __init__(
        self,
        records: ResultStore,
        queue_name: str,
        message_id: str,
        group: str | None,
        key: str | None = None,
    ) -> None:
        self._records = records
        self._queue = q_name(queue_name)
        self._id, self._group, self._key = message_id, group, key
        self._shard: ShardKeys | None = None
        self._before: _Search | None = None  #: for the step before, of a pipeline

    @classmethod
    def of(cls, records: ResultStore, message: Any) -> "_Search":
        """Return the search for a message as its caller holds it."""
        options = message.options
        # As it is enqueued: an id in the options replaces that of the message.
        message_id = str(options.get("message_id") or message.message_id)
        group = options.get("group") or options.get("unique_key")
        return cls(records, message.queue_name, message_id, group, options.get("idempotency_key"))

    @property
    def found(self) -> bool:
        """Whether a shard has known the message."""
        return self._shard is not None

    def look(self) -> Ending | None:
        """Return what is known of the message by now; None if no shard knows it."""
        if self._shard is not None:
            return self._records.read(self._shard, self._id)
        for message_id in self._names():
            for shard in self._records.candidates(self._queue, self._group, message_id):
                ending = self._records.read(shard, message_id)
                if ending is not None:
                    self._shard, self._id = shard, message_id
                    return ending
        return None

    def look_at_earlier(self) -> Ending | None:
        """Return what is known of the nearest earlier step of a pipeline; None if no shard knows one."""
        if self._before is None:
            step = self._records.step_before(self._id)
            if step is None:
                return None
            self._before = _Search(self._records, *step)
        return self._before.look() or self._before.look_at_earlier()

    def is_left_out(self) -> bool:
        """Return whether an earlier step is done, and this message is neither sent nor about to be.

        A middleware skipped the step, or it was a repeat of a message that other steps follow. What is looked at comes
        in the order in which a message is sent, so one that is on its way is never missed.
        """
        before = self._before
        if before is None or not (before.found or before.is_left_out()):
            return False
        shards = (
            self._records.candidates(before._queue, None, "") if before._shard is None else [before._shard]
        )
        return not any(self._records.owes(shard) for shard in shards) and self.look() is None

    def _names(self) -> Iterator[str]:
        """Yield the ids that the message may be known by: a repeat has the result of the first message."""
        yield self._id
        first = self._records.first_of(self._id)
        if first is None and self._key is not None:  # another process may have sent it
            first = self._records.first_by_key(self._key)
        if first is not None and first != self._id:
            yield first


def _raise_if_ended(message: Any, ending: Ending) -> None:
    """Raise what a waiter is told of a message that ended and left no result."""
    if ending.state == MessageState.DONE:
        raise ResultMissing(message)
    if ending.state == MessageState.DEAD:
        if ending.error != ending.reason:
            text = f"the message is a dead letter ({ending.reason}): {ending.error}: {ending.message}"
            raise ResultFailure(text, ending.error, ending.message)
        raise ResultFailure(f"the message is a dead letter: {ending.reason}", ending.reason, ending.reason)
    told = _ENDINGS.get(ending.reason or ending.state)
    if told is not None:
        raise ResultFailure(told, ending.reason or ending.state, told)


def _whole_ms(ttl: float) -> int:
    """A time to live that Redis takes."""
    return max(1, min(int(ttl), MAX_DELAY_MS))

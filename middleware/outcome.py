"""Decides how each message ends: done, retried at its place, dead, cancelled, or put back.

Nothing is written here: the decision is carried out by the consumer's settle, under the lease's token. Without a
decision the message is retried. Dramatiq's option names keep their meaning.
"""

import math
from typing import Any, Final

from dramatiq import Retry
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware, MiddlewareError, Shutdown, SkipMessage

from lockstep import errorinfo, logs
from lockstep.arguments import check_arguments
from lockstep.checks import MAX_DELAY_MS
from lockstep.claimed import ClaimedMessage
from lockstep.errors import InvalidMessage, InvalidOption, LeaseLost, Permanent
from lockstep.options import merged_options
from lockstep.parsing import Backoff
from lockstep.settings import Settings
from lockstep.states import Verb
from middleware.dead_letters import ATTEMPTS_EXHAUSTED, REJECTED

log = logs.get_logger("lockstep.message")

#: Milliseconds that a message waits which a rate limiter inside its actor refused.
_LIMITED_MS: Final = 1000
#: Dramatiq's own limits of a back-off, milliseconds.
_MIN_BACKOFF_MS: Final = 15_000
_MAX_BACKOFF_MS: Final = 7 * 86_400_000


class Outcome(Middleware):
    """The only place that decides between done, retry, dead, cancelled and released."""

    decides = True  #: its after hooks run again when a later one failed the message

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def actor_options(self) -> set[str]:
        """Those of Dramatiq's ``Retries``, and ``max_attempts`` and ``backoff``."""
        return {
            *("max_retries", "min_backoff", "max_backoff", "retry_when", "throws"),
            *("max_attempts", "backoff"),
        }

    def before_declare_actor(self, broker: Any, actor: Any) -> None:
        """Read ``backoff`` once; it was checked."""
        backoff = actor.options.get("backoff")
        if isinstance(backoff, str):
            actor.options["backoff"] = Backoff.parse(backoff)

    def before_process_message(self, broker: Any, message: Any) -> None:
        """As Dramatiq does, give the actor the number of its retries, and when and how it failed last.

        Raises:
          InvalidOption: ``throws`` of a stored message is no class: Dramatiq's thread would end on it.
        """
        throws = message.options.get("throws")
        if throws and not _catches(throws):  # an empty tuple comes back as a list
            del message.options["throws"]
            raise InvalidOption(f"{message.actor_name}: throws: expected exception classes, got {throws!r}")
        if message.lease.failures:
            message.options["retries"] = message.lease.failures
        if message.lease.failed_ms:
            message.options["requeue_timestamp"] = message.lease.failed_ms
            message.options["traceback"] = errorinfo.traceback_of(message.lease.failure)

    def after_process_message(
        self,
        broker: Any,
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Decide how the attempt ends.

        No error of another middleware counts once the actor has returned and its result is stored. One that failed
        the message (``message.fail()``) has the last word, as in Dramatiq.
        """
        error = message.hook_error if exception is None else exception
        if error is None:
            self._reject(message) if message.failed else self._complete(message)
        elif isinstance(error, LeaseLost) or message.lost:
            # Another may hold the group by now; if not, this puts the message back, and the token decides.
            message.settle(Verb.RELEASE, reason="lease_lost")
        elif message.cancel_requested:
            # If the process dies here, the reaper cancels it: the lease knows.
            message.settle(Verb.CANCEL)
        elif isinstance(error, Shutdown) or message.stopped:
            message.settle(Verb.RELEASE, reason="shutdown")
            log.info("message.released", reason="shutdown")
        elif message.failed:
            self._die(message, REJECTED, error)
        elif isinstance(error, RateLimitExceeded):
            message.settle(Verb.RELEASE, delay_ms=getattr(error, "delay_ms", _LIMITED_MS))
        else:
            self._fail(broker, message, error)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """A middleware refused the message: dead when it said so, else skipped as in Dramatiq, that is, done."""
        if message.settlement is not None and message.settlement.verb is Verb.RELEASE:
            return
        if message.failed:
            self._reject(message)
        elif message.hook_error is not None:
            self._fail(broker, message, message.hook_error)
        else:
            self._complete(message)

    def _reject(self, message: ClaimedMessage) -> None:
        """A middleware called ``message.fail()``: dead at once, for the reason that the middleware gave."""
        error = message._exception if message.hook_error is None else message.hook_error
        reason = str(error) if isinstance(error, SkipMessage) else ""
        if error is None:
            error = MiddlewareError("a middleware failed the message")
        self._die(message, reason or REJECTED, error)

    def _complete(self, message: ClaimedMessage) -> None:
        encoded, ttl = message.result or (None, 0)
        message.settle(Verb.COMPLETE, result=encoded, result_ttl_ms=ttl)
        log.debug("message.done")

    def _fail(self, broker: Any, message: ClaimedMessage, error: BaseException) -> None:
        try:
            self._decide(broker, message, error)
        except Exception:  # an option or a retry_when that is broken: it must not go on without end
            log.critical("middleware.failed", hook="outcome", exc_info=True)
            if message.settlement is None:
                self._decide_by_default(message, error)

    def _decide_by_default(self, message: ClaimedMessage, error: BaseException) -> None:
        if message.attempt >= self._settings.max_attempts:
            message.counted_failure, message.max_retries = True, self._settings.max_attempts - 1
            self._die(message, ATTEMPTS_EXHAUSTED, error)
        else:
            self._retry(message, error, self._settings.backoff.delay_ms(message.attempt))

    def _decide(self, broker: Any, message: ClaimedMessage, error: BaseException) -> None:
        actor = broker.get_actor(message.actor_name)
        options = merged_options(actor.options, message.options)
        throws = options.get("throws")
        if isinstance(error, Permanent):
            self._die(message, error.code, error)
        elif throws and isinstance(error, throws):
            self._die(message, "throws", error)
        elif isinstance(error, TypeError) and _wrong_arguments(actor, message):
            message.counted_failure = True
            self._die(message, "wrong_arguments", error)
        elif self._exhausted(options, message, error):
            most = self._most_attempts(options)
            message.counted_failure, message.max_retries = True, None if most is None else most - 1
            self._die(message, ATTEMPTS_EXHAUSTED, error)
        else:
            self._retry(message, error, self._delay_ms(options, message, error))

    def _retry(self, message: ClaimedMessage, error: BaseException, delay: int) -> None:
        message.settle(Verb.RETRY, delay_ms=delay, error=errorinfo.encode(error))
        log.warning("message.retry", delay_ms=delay, error=type(error).__name__)

    def _die(self, message: ClaimedMessage, reason: str, error: BaseException) -> None:
        message.stuff_exception(error)  # where Dramatiq's own hooks after the end look for it
        message.settle(Verb.DEAD_LETTER, reason=reason[:200], error=errorinfo.encode(error))

    def _exhausted(self, options: dict[str, Any], message: ClaimedMessage, error: BaseException) -> bool:
        retry_when = options.get("retry_when")
        if retry_when is not None:
            return not retry_when(message.lease.failures, error)
        most = self._most_attempts(options)
        return bool(most is not None and message.attempt >= most)

    def _most_attempts(self, options: dict[str, Any]) -> Any:
        """Return how many attempts a message has; None: any number, as with Dramatiq's ``max_retries=None``."""
        attempts = options.get("max_attempts")
        if attempts is None and "max_retries" in options:
            retries = options["max_retries"]
            return None if retries is None else retries + 1
        return self._settings.max_attempts if attempts is None else attempts

    def _delay_ms(self, options: dict[str, Any], message: ClaimedMessage, error: BaseException) -> int:
        if isinstance(error, Retry) and error.delay is not None:
            return max(0, min(math.ceil(error.delay), MAX_DELAY_MS))
        backoff = options.get("backoff")
        if backoff is not None:
            return (Backoff.parse(backoff) if isinstance(backoff, str) else backoff).delay_ms(message.attempt)
        if "min_backoff" in options or "max_backoff" in options:
            least, most = options.get("min_backoff"), options.get("max_backoff")
            least = _MIN_BACKOFF_MS if least is None else least  # 0 is a time like any other
            most = _MAX_BACKOFF_MS if most is None else min(most, _MAX_BACKOFF_MS)
            return Backoff("exponential", (least / 1000,), most / 1000).delay_ms(message.attempt)
        return self._settings.backoff.delay_ms(message.attempt)


def _catches(throws: object) -> bool:
    classes = throws if isinstance(throws, tuple) else (throws,)
    return all(isinstance(one, type) for one in classes)


def _wrong_arguments(actor: Any, message: ClaimedMessage) -> bool:
    try:
        check_arguments(actor, message.args, message.kwargs)
    except InvalidMessage:
        return True
    return False

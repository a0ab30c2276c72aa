"""Callbacks, pipeline steps and completed groups: what else happens when a message is done or dead.

They are built once the outcome has decided, and stored by the same settle that ends the message: a message that is
retried, or whose lease was lost, sends nothing. If one of them cannot be sent, running the actor again would not help,
so the message is a dead letter.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from dramatiq import Message
from dramatiq.middleware import Callbacks, CurrentMessage, GroupCallbacks, Middleware, Pipelines

from lockstep import errorinfo, logs
from lockstep.claimed import ClaimedMessage
from lockstep.outbox import Arrival, write_arrival
from lockstep.states import Verb
from middleware.dead_letters import ATTEMPTS_EXHAUSTED

#: Why a message is dead whose actor returned, but whose next step or callback cannot be sent.
PIPELINE_REFUSED: Final = "pipeline_refused"
CALLBACK_REFUSED: Final = "callback_refused"

log = logs.get_logger("lockstep.message")


class FollowUps(Middleware):
    """Replaces Dramatiq's ``Callbacks`` and ``Pipelines``, and what its ``GroupCallbacks`` does after a message."""

    decides = True

    #: Hooks that would send the same a second time.
    replaces = (
        Callbacks.after_process_message,
        Pipelines.after_process_message,
        GroupCallbacks.after_process_message,
    )

    @property
    def actor_options(self) -> set[str]:
        """Those of ``Callbacks`` and ``Pipelines``, and ``on_retry_exhausted``."""
        return {"on_success", "on_failure", "on_retry_exhausted", "pipe_ignore", "pipe_target"}

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """The outcome stands: build what follows it."""
        settlement = message.settlement
        if settlement is not None and settlement.verb is Verb.COMPLETE:
            self._on_done(broker, message, result)
        self._on_dead(broker, message)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """A skipped message is followed by nothing, unless it is dead."""
        self._on_dead(broker, message)

    def _on_done(self, broker: Any, message: ClaimedMessage, result: Any) -> None:
        options, own = message.options, broker.actors[message.actor_name].options
        target = options.get("on_success") or own.get("on_success")
        step, barrier = options.get("pipe_target"), options.get("group_completion_uuid")
        if not target and step is None and not barrier:
            return
        reason = PIPELINE_REFUSED
        try:
            with _current(message):
                entries = []
                if step is not None:
                    entries.append(_next_step(broker, step, own, result))
                reason = CALLBACK_REFUSED
                if barrier and options.get("group_completion_callbacks"):
                    entries.append(_arrival(broker, message, barrier))
                if target:
                    entries.append(_call(broker, target, message.asdict(), result))
        except (
            BaseException
        ) as error:  # of a hook before the enqueue: what is not sent must not be lost unseen
            message.stuff_exception(error)
            message.settle(Verb.DEAD_LETTER, reason=reason, error=errorinfo.encode(error))
        else:
            _attach(message, entries)

    def _on_dead(self, broker: Any, message: ClaimedMessage) -> None:
        settlement = message.settlement
        if settlement is None or settlement.verb is not Verb.DEAD_LETTER:
            return
        options = {**broker.actors[message.actor_name].options, **message.options}
        error = orjson.loads(settlement.error)
        told = {"on_failure": {"type": error["type"], "message": error["message"]}}
        if settlement.reason == ATTEMPTS_EXHAUSTED:
            told["on_retry_exhausted"] = {
                "retries": message.lease.failures,
                "max_retries": message.max_retries,
            }
        entries = []
        for option, details in told.items():
            if options.get(option):
                data = _failed_data(message, error["traceback"])
                try:
                    with _current(message):
                        entries.append(_call(broker, options[option], data, details))
                except BaseException:  # the message is a dead letter in any case
                    log.critical("middleware.failed", hook=option, exc_info=True)
        if entries:
            _attach(message, entries)


def _attach(message: ClaimedMessage, entries: list[bytes]) -> None:
    assert message.settlement is not None
    message.settlement = message.settlement._replace(follow_ups=tuple(entries))


@contextmanager
def _current(message: ClaimedMessage) -> Iterator[None]:
    """Let hooks see which message sends, as they do while its actor runs."""
    token = CurrentMessage._MESSAGE.set(message)  # type: ignore[arg-type]
    try:
        yield
    finally:
        CurrentMessage._MESSAGE.reset(token)


def _call(broker: Any, target: str, *args: Any) -> bytes:
    """Return the entry of a message to the actor of that name."""
    entry: bytes = broker.prepare_follow_up(broker.get_actor(target).message(*args))
    return entry


def _next_step(broker: Any, step: dict[str, Any], own: dict[str, Any], result: Any) -> bytes:
    message: Message[Any] = Message(**step)
    if not (message.options.get("pipe_ignore") or own.get("pipe_ignore")):
        message = message.copy(args=(*message.args, result))
    entry: bytes = broker.prepare_follow_up(message, delay=message.options.get("delay"))
    return entry


def _arrival(broker: Any, message: ClaimedMessage, barrier: str) -> bytes:
    callbacks = [broker.prepare(Message(**one)) for one in message.options["group_completion_callbacks"]]
    addressed = [(one.message.queue_name, one.new) for one in callbacks]
    return write_arrival(Arrival(barrier, message.message_id, addressed))


def _failed_data(message: ClaimedMessage, trace: str) -> dict[str, Any]:
    """Return a failed message as Dramatiq gives it to callbacks: with the number of its failures and the last one."""
    data: dict[str, Any] = message.asdict()
    options = {**data["options"], "traceback": trace, "requeue_timestamp": int(time.time() * 1000)}
    if message.counted_failure:
        options["retries"] = message.lease.failures + 1
    return {**data, "options": options}

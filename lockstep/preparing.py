"""Makes a message ready to be enqueued: checks it, computes what its options mean, encodes it.

Nothing is written here: what is wrong with a message is known before Redis hears of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from dramatiq import Actor, Broker, Message

from lockstep.arguments import check_arguments, group_of, limit_extra, unique_of, validate
from lockstep.checks import (
    MAX_PRIORITY,
    check_delay,
    check_eta,
    check_new_id,
    check_queue,
    check_retention,
    check_timestamp,
    check_unique,
    find_unstorable,
    rounded_up,
)
from lockstep.envelope import current_encoder, encode
from lockstep.errors import InvalidMessage, PayloadTooLarge, UnknownActor
from lockstep.options import check_values, stored_options
from lockstep.prints import print_of
from lockstep.records import NewMessage
from lockstep.returned import as_returned
from lockstep.schedules import tick_id, tick_of
from lockstep.words import words_of_arguments

#: Options of a message that only decide how it is enqueued; they do not travel with it.
_CONSUMED: Final = frozenset(
    {
        *("message_id", "delay", "eta", "group_by", "priority", "hold_place", "rate_limit"),
        "rate_limit_key",
        *("idempotency_key", "unique", "unique_by", "unique_key"),
    }
)

#: Options that do not belong to what is asked, or only by what they make of it.
_NOT_ASKED: Final = frozenset(
    {
        *("message_id", "idempotency_key", "delay", "eta", "group"),
        *("group_by", "unique_by", "rate_limit_key", "unique_key"),
    }
)


class Prepared(NamedTuple):
    """A message that can be enqueued, and what Dramatiq's hooks are told."""

    message: Message[Any]
    new: NewMessage
    delay_ms: int
    given: Message[Any]  #: as it came, with all its options, before any hook changed it
    hook_delay: int | None  #: the delay in milliseconds as Dramatiq's hooks expect it: None if none was given


def hooked_copy(message: Message[Any]) -> Message[Any]:
    """Return the copy of a message that ``before_enqueue`` hooks may change.

    It has the id under which the message is stored. The sender's message stays as it is, so that sending it again
    does not carry what a hook added the first time.
    """
    kwargs, options = message.kwargs, dict(message.options)
    return Message(
        message.queue_name,
        message.actor_name,
        message.args,
        dict(kwargs) if isinstance(kwargs, dict) else kwargs,
        options,
        options.get("message_id", message.message_id),
        message.message_timestamp,
    )


def prepare(
    broker: Broker, message: Message[Any], delay: int | None, max_payload_bytes: int, *, given: Message[Any]
) -> Prepared:
    """Check and encode a message, once, after the hooks.

    A repeat is recognized by what the sender asked, ``given``: a hook may add a new trace id to each copy.

    Raises:
      InvalidMessage: it is refused; ``field`` says why.
    """
    actor = broker.actors.get(message.actor_name)
    if actor is None:
        raise UnknownActor(message.actor_name)
    check_arguments(actor, message.args, message.kwargs)
    validate(actor, message.args, message.kwargs)
    check_values(message.options)
    options = stored_options(message.options, _CONSUMED)
    message = as_returned(message, options, current_encoder())
    group = group_of(actor, message)
    if group is not None:
        options["group"] = group
    extra = limit_extra(actor, message, group) | _extra(actor, message.options, group)
    unique_by = None
    until = message.options.get("unique", actor.options.get("unique"))
    if until is not None:
        unique_by = _unique_print(actor, message, group)
        extra["unique"] = [unique_by, check_unique(until)]
        options["unique_key"] = unique_by  # where its result is looked for
    elif message.options.get("unique_by") is not None:
        raise InvalidMessage("/unique_by", "has no effect without unique")
    delay_ms, eta_ms = _due(message, delay)
    message_id = check_new_id(message.options.get("message_id", _id_of(actor, message)))
    prepared: Message[Any] = Message(
        _queue_of(actor, message), message.actor_name, message.args, message.kwargs, options, message_id,
        check_timestamp(message.message_timestamp),
    )  # fmt: skip
    new = NewMessage(
        id=message_id,
        actor=message.actor_name,
        payload=_encoded(prepared, max_payload_bytes),
        group=group,
        delay_ms=delay_ms,
        eta_ms=eta_ms,
        blocks=options.get("on_dead", actor.options.get("on_dead")) == "block",
        extra=extra,
        known_by=_known_by(given, group, delay_ms),
        unique_by=unique_by,
    )
    return Prepared(prepared, new, delay_ms, given, None if given_delay(message, delay) is None else delay_ms)


def _queue_of(actor: "Actor[Any, Any]", message: Message[Any]) -> str:
    if message.queue_name == actor.queue_name:
        return actor.queue_name
    return check_queue(message.queue_name)  # of a message that was made by hand


def given_delay(message: Message[Any], delay: object) -> Any:
    """Return the delay that holds for a message: that of the call, else its own; as in Dramatiq, any number."""
    return rounded_up(message.options.get("delay") if delay is None else delay)


def _due(message: Message[Any], delay: int | None) -> tuple[int, int | None]:
    """Return the delay in milliseconds, 0 for none, and the time at which the message is due, if it names one."""
    given = given_delay(message, delay)
    delay_ms = 0 if given is None else check_delay(given)
    eta = message.options.get("eta")
    if eta is not None and delay_ms:
        raise InvalidMessage("/eta", "give eta or delay, not both")
    return delay_ms, None if eta is None else check_eta(eta)


def keyed_together(prepared: Sequence[Prepared], key: str) -> list[Prepared]:
    """Messages that one idempotency key covers: each is known by the key and its place, if all are the same.

    Raises:
      InvalidMessage: one has a key of its own.
    """
    for index, one in enumerate(prepared):
        if any(name.startswith("key:") for name in one.new.known_by):
            raise InvalidMessage(
                f"/{index}/idempotency_key", "the key of the whole batch covers this message"
            )
    fingerprint = print_of({"batch": [_asked(one.given, one.new.group, one.delay_ms) for one in prepared]})
    return [
        one._replace(
            # No key of a client has a control character: none is taken for this.
            new=replace(one.new, known_by={f"key:{key}\x1f{index}": fingerprint, **one.new.known_by})
        )
        for index, one in enumerate(prepared)
    ]


def with_words(prepared: Prepared) -> Prepared:
    """The same, found by the words of its arguments from then on."""
    words = words_of_arguments(prepared.message.args, prepared.message.kwargs)
    if not words:
        return prepared
    return prepared._replace(new=replace(prepared.new, extra={**prepared.new.extra, "words": words}))


def _id_of(actor: "Actor[Any, Any]", message: "Message[Any]") -> str:
    """The id that a message was made with; that of its tick when periodiq's own command sends it."""
    if "scheduled_at" in message.options and actor.options.get("periodic") is not None:
        tick_ms = tick_of(message.options["scheduled_at"])
        if tick_ms is not None:
            return tick_id(actor.actor_name, tick_ms)
    return str(message.message_id)


def _extra(actor: "Actor[Any, Any]", options: Mapping[str, Any], group: str | None) -> dict[str, object]:
    """What few messages have."""
    extra: dict[str, object] = {}
    # Of an actor it is Dramatiq's own attribute, which may be any number: those beyond the levels keep their side.
    priority = options.get("priority", actor.priority)
    if isinstance(priority, int | float) and priority > 0:
        extra["priority"] = math.ceil(min(priority, MAX_PRIORITY))
    # A message without a group has no place to hold.
    if options.get("hold_place", actor.options.get("hold_place")) and group is not None:
        extra["hold_place"] = True
    retention = options.get("retention", actor.options.get("retention"))
    if retention is not None:
        extra["retention"] = check_retention(retention)
    return extra


def _known_by(message: "Message[Any]", group: str | None, delay_ms: int) -> dict[str, str]:
    """What the client gave for a safe repeat, with the fingerprint of what it asks."""
    options = message.options
    key, message_id = options.get("idempotency_key"), options.get("message_id")
    if key is None and message_id is None:
        return {}  # an id that Dramatiq makes is sent once: a record of it would serve nobody
    fingerprint = _print_of(_asked(message, group, delay_ms), message)
    known_by = {} if key is None else {f"key:{key}": fingerprint}
    return known_by if message_id is None else {**known_by, f"id:{message_id}": fingerprint}


def _asked(message: "Message[Any]", group: str | None, delay_ms: int) -> dict[str, Any]:
    """What a repeat must say again."""
    options = message.options
    return {
        "actor": message.actor_name,
        "queue": message.queue_name,
        "group": group,
        "id": options.get("message_id"),
        "delay": delay_ms,
        "eta": options.get("eta"),
        "args": message.args,
        "kwargs": message.kwargs,
        "options": {name: value for name, value in options.items() if name not in _NOT_ASKED},
    }


def _unique_print(actor: "Actor[Any, Any]", message: "Message[Any]", group: str | None) -> str:
    """The fingerprint of what a message is the only one by, among those of its queue, group and actor."""
    by = unique_of(actor, message)
    what = {"args": message.args, "kwargs": message.kwargs} if by is None else {"by": by}
    return _print_of({"actor": message.actor_name, "group": group, **what}, message)


def _print_of(value: dict[str, Any], message: "Message[Any]") -> str:
    try:
        return print_of(value)
    except Exception as error:  # as below
        raise _unstorable(message, error) from None


def _encoded(message: "Message[Any]", most: int) -> bytes:
    encoder = current_encoder()
    try:
        payload = encode(message, encoder)
    except Exception as error:  # an encoder of one's own may raise anything
        raise _unstorable(message, error) from None
    if len(payload) > most:
        raise PayloadTooLarge(len(payload), most)
    return payload


def _unstorable(message: "Message[Any]", error: Exception) -> InvalidMessage:
    return InvalidMessage(find_unstorable(message, current_encoder()), f"cannot be stored: {error}")

"""Makes a message ready to be enqueued: checks it, computes what its options mean, encodes it.

Nothing is written here: what is wrong with a message is known before Redis hears of it.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from dramatiq import Actor, Broker, Message

from lockstep.arguments import check_arguments, group_of, limit_extra, validate
from lockstep.checks import (
    MAX_PRIORITY,
    check_delay,
    check_eta,
    check_id,
    check_options,
    find_unstorable,
)
from lockstep.envelope import current_encoder, encode
from lockstep.errors import InvalidMessage, PayloadTooLarge, UnknownActor
from lockstep.records import NewMessage
from lockstep.schedules import tick_id, tick_of

#: Options of a message that only decide how it is enqueued; they do not travel with it.
_CONSUMED: Final = frozenset(
    {"message_id", "delay", "eta", "group_by", "priority", "hold_place", "rate_limit_key"}
)


class Prepared(NamedTuple):
    """A message that can be enqueued, and what Dramatiq's hooks are told."""

    message: Message[Any]
    new: NewMessage
    delay_ms: int


def prepare(broker: Broker, message: Message[Any], delay: int | None, max_payload_bytes: int) -> Prepared:
    """Check and encode a message.

    Raises:
      InvalidMessage: it is refused; ``field`` says why.
    """
    actor = broker.actors.get(message.actor_name)
    if actor is None:
        raise UnknownActor(message.actor_name)
    check_arguments(actor, message.args, message.kwargs)
    validate(actor, message.args, message.kwargs)
    check_options(message.options)
    options = {name: value for name, value in message.options.items() if name not in _CONSUMED}
    group = group_of(actor, message)
    if group is not None:
        options["group"] = group
    delay_ms = check_delay(delay if delay is not None else message.options.get("delay") or 0)
    eta = message.options.get("eta")
    message_id = check_id(message.options.get("message_id", _id_of(actor, message)))
    prepared: Message[Any] = Message(
        message.queue_name, message.actor_name, message.args, message.kwargs, options, message_id,
        message.message_timestamp,
    )  # fmt: skip
    new = NewMessage(
        id=message_id,
        actor=message.actor_name,
        payload=_encoded(prepared, max_payload_bytes),
        group=group,
        delay_ms=delay_ms,
        eta_ms=None if eta is None else check_eta(eta),
        blocks=options.get("on_dead", actor.options.get("on_dead")) == "block",
        extra=limit_extra(actor, message, group) | _extra(actor, message.options, group),
    )
    return Prepared(prepared, new, delay_ms)


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
    # Of an actor it is Dramatiq's own attribute, which may be any number: of those that mean nothing here, none counts.
    priority = options.get("priority", actor.priority)
    if type(priority) is int and 0 < priority <= MAX_PRIORITY:
        extra["priority"] = priority
    # A message without a group has no place to hold.
    if options.get("hold_place", actor.options.get("hold_place")) and group is not None:
        extra["hold_place"] = True
    return extra


def _encoded(message: "Message[Any]", most: int) -> bytes:
    encoder = current_encoder()
    try:
        payload = encode(message, encoder)
    except Exception as error:  # an encoder of one's own may raise anything
        pointer = find_unstorable(message, encoder)
        raise InvalidMessage(pointer, f"cannot be stored: {error}") from None
    if len(payload) > most:
        raise PayloadTooLarge(len(payload), most)
    return payload

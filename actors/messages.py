"""The main job: deliver messages, those of one customer of one instance in order."""

import json
from typing import Any, Final

import dramatiq
from dramatiq.middleware import CurrentMessage

from actors import settings
from actors.delivery import Deliverer, Outgoing
from actors.shutdown import CloseAtShutdown
from lockstep.errors import InvalidMessage, Permanent

#: Milliseconds beyond DELIVERY_TIMEOUT until a receiver that trickles its answer is cut off.
_GRACE_MS: Final = 2_000

#: Of this process.
deliverer: Final = Deliverer(settings)
dramatiq.get_broker().add_middleware(CloseAtShutdown(deliverer.close))


def check_deliverable(instance_id: Any, customer_id: Any, **others: Any) -> None:
    """What can never be delivered is not accepted.

    Raises:
      InvalidMessage: an id is no text, or would make the group of another conversation; or a name is taken.
    """
    for name, value in (("instance_id", instance_id), ("customer_id", customer_id)):
        if not isinstance(value, str) or not value:
            raise InvalidMessage(f"/kwargs/{name}", "expected a text that is not empty")
    if ":" in instance_id:  # or "a:b" and "c" would share a group with "a" and "b:c"
        raise InvalidMessage("/kwargs/instance_id", "a colon is not allowed: it ends the id in the group key")
    if "id" in others:
        raise InvalidMessage("/kwargs/id", "this name is taken by the message id")


@dramatiq.actor(
    actor_name="messages.deliver",
    queue_name="messages",
    group_by="{instance_id}:{customer_id}",
    validate=check_deliverable,
    store_results=True,
    time_limit=int(settings.delivery_timeout * 1000) + _GRACE_MS,
)
def deliver(instance_id: str, customer_id: str, body: Any, **extra: Any) -> dict[str, object]:
    """Post ``{id, instance_id, customer_id, body, …extra}`` to the destination of the instance.

    Returns what became of it: ``delivered``, and the status and host, or the reason why not.

    Raises:
      Permanent: the arguments are wrong, or the receiver refused the message for good.
      Retry: the receiver asked to wait.
      DeliveryError: it did not get through this time.
    """
    message = CurrentMessage.get_current_message()
    if message is None:
        raise RuntimeError("messages.deliver runs in a worker: use deliver.send(…)")
    content = {"instance_id": instance_id, "customer_id": customer_id, "body": body}
    return deliverer.deliver(
        Outgoing(
            id=message.message_id,
            instance_id=instance_id,
            body=encode(message.message_id, content, extra),
            headers={
                f"lockstep-{name}": str(getattr(message, name)) for name in ("fence", "sequence", "attempt")
            },
        )
    )


def encode(message_id: str, content: dict[str, Any], extra: dict[str, Any]) -> bytes:
    """The JSON text of a message.

    Raises:
      Permanent: a message that an older release accepted fails ``check_deliverable``, or is not JSON.
    """
    try:
        check_deliverable(**content, **extra)
        text = json.dumps({"id": message_id, **content, **extra}, allow_nan=False, separators=(",", ":"))
    except InvalidMessage as error:
        raise Permanent(str(error), code="invalid_message") from error
    except (TypeError, ValueError) as error:
        raise Permanent(f"the message is not JSON: {error}", code="invalid_message") from error
    return text.encode()

"""Ask whether Redis knows a message."""

from lockstep.broker import LockstepBroker
from lockstep.errors import NotFound


def is_known(broker: LockstepBroker, message_id: str) -> bool:
    """Return whether a message was accepted, and its record is kept."""
    try:
        return bool(broker.store.message(message_id))
    except NotFound:
        return False

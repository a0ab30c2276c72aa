"""What operators did, as plain values with the names that HTTP and the commands show."""

from typing import Any

from lockstep.switches import Switched


def switched_view(switched: Switched) -> dict[str, Any]:
    """A message that an operator changed."""
    return {
        "id": switched.id,
        "queue": switched.queue,
        "state": switched.state.value,
        "changed": switched.changed,
        "cancel_requested": switched.cancel_requested,
    }

"""An actor whose messages end as they say; ``ACTOR_MODULES`` names this module."""

import pathlib
import time

import dramatiq
from dramatiq.middleware import CurrentMessage

from lockstep.errors import Permanent


@dramatiq.actor(actor_name="ends", queue_name="messages", group_by="{group}", backoff="fixed:50ms")
def ends(group: str, how: str = "done") -> None:
    """``done``, ``dead``, or ``retry``: fails once."""
    message = CurrentMessage.get_current_message()
    if how == "dead":
        raise Permanent("as it was told")
    if how == "retry" and message is not None and message.attempt == 1:
        raise RuntimeError("as it was told, the first time")


@dramatiq.actor(actor_name="writes", queue_name="messages", group_by="{group}")
def writes(group: str, number: int, file: str, seconds: float = 0.0) -> None:
    """Appends its group and number to a file when it ends."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)  # an interrupt comes between two of them
    with pathlib.Path(file).open("a") as lines:
        lines.write(f"{group} {number}\n")

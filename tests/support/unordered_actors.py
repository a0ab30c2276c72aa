"""An actor that gives up the order inside a group: the negative control of load tests."""

import time

import dramatiq


@dramatiq.actor(actor_name="unordered", queue_name="messages", group_concurrency=4)
def unordered(seconds: float) -> None:
    """Several of a group at once."""
    time.sleep(seconds)

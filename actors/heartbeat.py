"""A periodic actor that does nothing each minute: when its runs stop, something between scheduler and worker has."""

import dramatiq


@dramatiq.actor(
    actor_name="lockstep.heartbeat",
    queue_name="messages",
    group="lockstep.heartbeat",
    periodic="* * * * *",
    catch_up="last",
)
def heartbeat() -> None:
    """Nothing: that it ran is counted, as for every actor."""

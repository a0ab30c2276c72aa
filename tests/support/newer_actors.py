"""What a newer release has beside ``fault_actors``: the actor ``newer``."""

import dramatiq

from tests.support import fault_actors, steps

__all__ = ["fault_actors"]

dramatiq.actor(actor_name="newer", group_by="{group}")(steps.step)

"""The actors of a Lockstep worker in a fault run; ``ACTOR_MODULES`` names this module."""

import dramatiq

from tests.support import steps

steps.declare(dramatiq.get_broker(), group_by="{group}")
dramatiq.get_broker().add_middleware(steps.Boots())


@dramatiq.actor(actor_name="noop")
def noop() -> None:
    """Nothing."""

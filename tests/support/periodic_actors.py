"""Periodic actors whose expression a test gives, one for each policy."""

import os

import dramatiq
import periodiq

for _policy in ("skip", "last", "all"):

    @dramatiq.actor(
        actor_name=f"tick.{_policy}",
        queue_name="ticks",
        periodic=periodiq.cron(os.environ["TEST_CRON"]),
        catch_up=_policy,
    )
    def tick() -> None:
        """Nothing: that it was sent is all."""

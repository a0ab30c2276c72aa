"""The fleet at one moment, as event streams show it."""

from lockstep.store import Store
from lockstep.views import intake_view, queue_view
from web.feed import Reading
from web.queues import all_counts


def read_fleet(store: Store) -> Reading:
    """Ask Redis.

    Raises:
      RedisUnavailable: it does not answer.
    """
    ms = store.now_ms()
    queues = [queue_view(counts) for counts in all_counts(store)]
    return Reading(ms, {"queues": queues, "intake": intake_view(store.intake.status())})

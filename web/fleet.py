"""The fleet at one moment, as event streams show it."""

from collections.abc import Iterable

from lockstep.processes import ProcessRecord
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
    fleet = {
        "queues": [queue_view(counts) for counts in all_counts(store)],
        "intake": intake_view(store.intake.status()),
        "processes": _by_state(store.processes.listing()),
    }
    return Reading(ms, fleet)


def _by_state(records: Iterable[ProcessRecord]) -> dict[str, dict[str, int]]:
    """How many processes of each type are in each state; only what there is."""
    counted: dict[str, dict[str, int]] = {}
    for record in records:
        states = counted.setdefault(record.type.value, {})
        states[record.state.value] = states.get(record.state.value, 0) + 1
    return counted

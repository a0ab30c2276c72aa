"""What operators did and see of groups, as plain values with the names that HTTP and the commands show."""

import time
from typing import Any

from lockstep.groups import GroupRecord
from lockstep.survey import Mark, Ranking
from lockstep.switches import Switched
from lockstep.views import rfc3339


def switched_view(switched: Switched) -> dict[str, Any]:
    """A message that an operator changed."""
    return {
        "id": switched.id,
        "queue": switched.queue,
        "state": switched.state.value,
        "changed": switched.changed,
        "cancel_requested": switched.cancel_requested,
    }


def extremes_view(ranking: Ranking) -> dict[str, Any]:
    """The deepest and the oldest group of a queue; None: it has none."""
    return {
        "deepest_group": _mark_view(ranking.deepest),
        "oldest_group": _mark_view(ranking.oldest),
        "extremes_exact": ranking.exact,
    }


def _mark_view(marks: list[Mark]) -> dict[str, Any] | None:
    if not marks:
        return None
    return {"group": marks[0].group, "depth": marks[0].depth, "age_seconds": marks[0].age_ms / 1000}


def group_view(record: GroupRecord) -> dict[str, Any]:
    """One group: what it is, its head, who holds it, what it waits for."""
    age = None if record.enqueued_ms is None else max(0.0, time.time() - record.enqueued_ms / 1000)
    return {
        "group": record.group,
        "state": None if record.state is None else record.state.value,
        "paused": record.paused,
        "depth": record.depth,
        "head": record.head,
        "head_age_seconds": None if age is None else round(age, 3),
        "holder": record.holder,
        "fence": record.fence,
        "lease_expires_at": rfc3339(record.lease_ends_ms),
        "blocked_until": rfc3339(record.blocked_until_ms),
        "why": record.why,
        "limit": record.limit,
    }

"""Hints for autoscalers as plain values, with the names that HTTP and the command show."""

from typing import Any

from lockstep.scaling import Demand, Hint


def hint_view(hint: Hint) -> dict[str, Any]:
    """One role."""
    ages = [one.oldest_ms for one in hint.queues if one.oldest_ms is not None]
    rates = [one.rate for one in hint.queues if one.rate is not None]
    return {
        "role": hint.role.value,
        "depth": sum(one.depth for one in hint.queues),
        "due_soon": sum(one.due_soon for one in hint.queues),
        "useful_threads": sum(one.useful for one in hint.queues),
        "oldest_seconds": max(ages) / 1000 if ages else None,
        "rate": round(sum(rates), 3) if rates else None,
        "workers": hint.workers,
        "busy": hint.busy,
        "capacity": hint.capacity,
        "threads_wanted": round(hint.threads_wanted, 2),
        "workers_wanted": hint.workers_wanted,
        "queues": [_demand_view(one) for one in hint.queues],
    }


def _demand_view(demand: Demand) -> dict[str, Any]:
    return {
        "name": demand.queue,
        "depth": demand.depth,
        "due_soon": demand.due_soon,
        "ready_groups": demand.ready,
        "running_groups": demand.running,
        "oldest_seconds": None if demand.oldest_ms is None else demand.oldest_ms / 1000,
        "rate": None if demand.rate is None else round(demand.rate, 3),
        "mean_seconds": None if demand.mean is None else round(demand.mean, 6),
        "threads_wanted": round(demand.threads, 2),
    }

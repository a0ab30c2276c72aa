"""Every metric that ``/metrics`` serves, in one table, and the stats fields that they are read from.

The stats of a queue are a hash of whole numbers in Redis, written where the thing happens and read by
whichever web process is scraped, so that each of them speaks for the whole fleet and a restart loses nothing.

======================  ==========================================================
field                   counts
======================  ==========================================================
NAME                    a thing that has no label of its own
NAME|LABEL…             the same, for each of its labels (``attempts|ACTOR|done``)
NAME|LABEL…|le:BOUND    observations above the bound before and up to this one
NAME|LABEL…|sum_us      microseconds of all observations
======================  ==========================================================

No group is ever a label: there may be millions.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

#: Upper bounds of every histogram, seconds; whatever is above the last falls into ``+Inf``.
BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),
)

#: The bounds as they stand in field names and in the exposition, ``+Inf`` last.
BOUNDS: Final = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")

#: How an attempt may end.
OUTCOMES: Final = ("done", "retry", "dead", "released", "cancelled")

ENQUEUED: Final = "enqueued"
DEDUPLICATED: Final = "deduplicated"
ATTEMPTS: Final = "attempts"
CANCELLED: Final = "cancelled"
LEASE_LOST: Final = "lease_lost"
REAPED: Final = "reaped"
DURATION: Final = "duration"
WAIT: Final = "wait"
LATENCY: Final = "latency"
MIDDLEWARE_FAILURES: Final = "middleware_failures"
LIMIT_WAITS: Final = "limit_waits"
HTTP_REQUESTS: Final = "http_requests"
HTTP_DURATION: Final = "http_duration"


@dataclass(frozen=True)
class Metric:
    """One metric: what it is called, what it means, and where its value comes from.

    ``source`` is ``stats NAME`` (counters and histograms of a queue), ``totals NAME`` (counters added up over all
    queues), ``counts NAME`` (a field of ``QueueCounts``), ``groups NAME`` (``Survey.ranking``), ``schedules NAME``
    (what schedulers declare), ``fleet NAME`` (what processes say of themselves), ``redis NAME`` (the server), ``intake
    NAME`` (its switch), or ``process NAME`` (counted by this web process alone).
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    source: str


METRICS: Final = (
    Metric(
        "lockstep_messages_enqueued_total",
        "counter",
        ("queue", "actor"),
        "Messages accepted.",
        f"stats {ENQUEUED}",
    ),
    Metric(
        "lockstep_messages_deduplicated_total",
        "counter",
        ("queue",),
        "Messages that were there already: nothing was written.",
        f"stats {DEDUPLICATED}",
    ),
    Metric(
        "lockstep_attempts_total",
        "counter",
        ("queue", "actor", "outcome"),
        f"Attempts that ended, by outcome: {', '.join(OUTCOMES)}.",
        f"stats {ATTEMPTS}",
    ),
    Metric(
        "lockstep_messages_cancelled_total",
        "counter",
        ("queue", "actor"),
        "Messages that were taken back, purged ones included.",
        f"stats {CANCELLED}",
    ),
    Metric(
        "lockstep_lease_lost_total",
        "counter",
        ("queue",),
        "Attempts whose lease ended before they did: their outcome changed nothing.",
        f"stats {LEASE_LOST}",
    ),
    Metric(
        "lockstep_reaped_total",
        "counter",
        ("queue",),
        "Leases that expired and were taken back.",
        f"stats {REAPED}",
    ),
    Metric(
        "lockstep_middleware_failures_total",
        "counter",
        ("queue", "hook"),
        "Middleware hooks around a message that raised an error, by hook.",
        f"stats {MIDDLEWARE_FAILURES}",
    ),
    Metric(
        "lockstep_message_duration_seconds",
        "histogram",
        ("queue", "actor"),
        "Seconds that an attempt ran.",
        f"stats {DURATION}",
    ),
    Metric(
        "lockstep_message_wait_seconds",
        "histogram",
        ("queue",),
        "Seconds from acceptance to the start of the first attempt.",
        f"stats {WAIT}",
    ),
    Metric(
        "lockstep_message_latency_seconds",
        "histogram",
        ("queue",),
        "Seconds from acceptance to completion, retries and waiting included.",
        f"stats {LATENCY}",
    ),
    Metric(
        "lockstep_queue_messages",
        "gauge",
        ("queue", "state"),
        "Messages in each state; of the finished ones, those that are remembered.",
        "counts messages",
    ),
    Metric(
        "lockstep_queue_oldest_seconds",
        "gauge",
        ("queue",),
        "Age of the head that has been ready longest; 0 when none is.",
        "counts oldest",
    ),
    Metric(
        "lockstep_queue_paused",
        "gauge",
        ("queue",),
        "1 while an operator has stopped the whole queue, else 0.",
        "counts paused",
    ),
    Metric("lockstep_groups", "gauge", ("queue", "state"), "Groups in each state.", "counts groups"),
    Metric(
        "lockstep_group_depth_max",
        "gauge",
        ("queue",),
        "Messages of the deepest group that is known; 0 when there is none.",
        "groups depth",
    ),
    Metric(
        "lockstep_group_age_max_seconds",
        "gauge",
        ("queue",),
        "Age of the oldest head of any group that is known, since it was accepted or fell due; 0 when there is none.",
        "groups age",
    ),
    Metric(
        "lockstep_dead_letters", "gauge", ("queue", "actor"), "Dead letters that are kept.", "counts dead"
    ),
    Metric(
        "lockstep_rate_limit_waits_total",
        "counter",
        ("limit",),
        "Times that a message had to wait because a limit did not admit it.",
        f"totals {LIMIT_WAITS}",
    ),
    Metric(
        "lockstep_schedule_last_run_timestamp_seconds",
        "gauge",
        ("actor",),
        "When a scheduler last sent a periodic actor at a tick, seconds since 1970; 0: not yet.",
        "schedules last_run",
    ),
    Metric(
        "lockstep_processes",
        "gauge",
        ("type", "state", "version"),
        "Processes that were heard of lately.",
        "fleet processes",
    ),
    Metric(
        "lockstep_workers",
        "gauge",
        ("role", "state", "version"),
        "Worker processes that were heard of lately.",
        "fleet workers",
    ),
    Metric(
        "lockstep_worker_capacity",
        "gauge",
        ("role",),
        "Threads of worker processes, those that drain excepted.",
        "fleet capacity",
    ),
    Metric(
        "lockstep_worker_busy",
        "gauge",
        ("role",),
        "Messages that run in worker processes, as they last said.",
        "fleet busy",
    ),
    Metric(
        "lockstep_intake",
        "gauge",
        (),
        "1 while new messages are accepted, else 0.",
        "intake accept",
    ),
    Metric("lockstep_redis_up", "gauge", (), "1 when Redis answered this scrape, else 0.", "redis up"),
    Metric("lockstep_redis_memory_bytes", "gauge", (), "Memory that Redis uses.", "redis memory"),
    Metric(
        "lockstep_http_requests_total",
        "counter",
        ("method", "route", "status"),
        "Requests answered by this web process, by route template.",
        f"process {HTTP_REQUESTS}",
    ),
    Metric(
        "lockstep_http_request_duration_seconds",
        "histogram",
        ("method", "route"),
        "Seconds until this web process had answered a request, by route template.",
        f"process {HTTP_DURATION}",
    ),
)


def stats_field(name: str, *labels: str) -> str:
    """The field of a counter."""
    return "|".join((name, *labels))


def attempt_field(actor: str, outcome: str) -> str:
    """The field that counts the attempts of ``actor`` that ended with ``outcome``."""
    return stats_field(ATTEMPTS, actor, outcome)


@lru_cache(maxsize=1024)
def _histogram_names(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(stats_field(name, *labels, f"le:{bound}") for bound in BOUNDS)


def histogram_fields(name: str, labels: tuple[str, ...], seconds: float) -> dict[str, int]:
    """What one observation adds to which fields; how many there were is the sum of the buckets."""
    buckets = _histogram_names(name, labels)
    total = stats_field(name, *labels, "sum_us")
    return {buckets[bisect_left(BUCKETS, seconds)]: 1, total: max(0, round(seconds * 1_000_000))}

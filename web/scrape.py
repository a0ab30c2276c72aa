"""``/metrics``: the whole fleet as Redis remembers it, and the requests of this process."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from lockstep import metrics
from lockstep.errors import RedisUnavailable
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.records import QueueCounts
from lockstep.schedules import ScheduleRecord
from lockstep.store import Store
from lockstep.survey import Ranking
from web.auth import check_token
from web.context import Context
from web.queues import all_counts

Sample = tuple[tuple[str, ...], float]

_OPENMETRICS: Final = "application/openmetrics-text"


async def scrape(request: Request) -> Response:
    """All metrics; while Redis is away, those of this process and ``lockstep_redis_up 0``."""
    context = Context.of(request)
    check_token(request, context.settings.metrics_token)
    try:
        fleet = await context.threads.run(lambda: read_fleet(context.broker.store))
    except RedisUnavailable:
        fleet = Fleet()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exposition(fleet, context.recorder.stats))
    # The library reads the rest of the header with less care: a version that is no number breaks it.
    openmetrics = _OPENMETRICS in request.headers.get("accept", "")
    encode, content_type = choose_encoder(f"{_OPENMETRICS}; version=1.0.0" if openmetrics else "")
    return Response(encode(registry), headers={"Content-Type": content_type})


@dataclass(frozen=True)
class Fleet:
    """What Redis knew at one scrape."""

    up: bool = False
    memory: int = 0
    queues: list[QueueCounts] = field(default_factory=list)
    schedules: list[ScheduleRecord] = field(default_factory=list)
    processes: list[ProcessRecord] = field(default_factory=list)
    accept: bool = True
    rankings: dict[str, Ranking] = field(default_factory=dict)  #: by queue


def read_fleet(store: Store) -> Fleet:
    """Ask Redis.

    Raises:
      RedisUnavailable: it does not answer.
    """
    schedules, accept = store.schedules.listing().records, store.intake.status().accept
    processes, queues = store.processes.listing(), list(all_counts(store))
    rankings = {one.queue: store.survey.ranking(one.queue) for one in queues}
    return Fleet(True, store.redis_memory(), queues, schedules, processes, accept, rankings)


class Exposition(Collector):
    """The metrics of one scrape, in the order of their table."""

    def __init__(self, fleet: Fleet, process_stats: Mapping[str, int]) -> None:
        self._fleet = fleet
        self._process_stats = process_stats

    def collect(self) -> Iterator[Metric]:
        """Every metric of the table with the values it has now."""
        for metric in metrics.METRICS:
            if metric.kind == "histogram":
                yield self._histogram(metric)
            else:
                yield self._simple(metric)

    def _simple(self, metric: metrics.Metric) -> Metric:
        make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=metric.labels)
        for labels, value in self._samples(metric):
            family.add_metric(labels, value)
        return family

    def _histogram(self, metric: metrics.Metric) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        name = metric.source.partition(" ")[2]
        for owner, stats in self._hashes(metric):
            for labels, (buckets, total_us) in _histograms(
                name, stats, len(metric.labels) - len(owner)
            ).items():
                cumulated, below = [], 0
                for bound in metrics.BOUNDS:
                    below += buckets[bound]
                    # As OpenMetrics writes numbers: 5.0, not 5.
                    cumulated.append((bound if bound == "+Inf" else str(float(bound)), float(below)))
                family.add_metric((*owner, *labels), cumulated, total_us / 1_000_000)
        return family

    def _hashes(self, metric: metrics.Metric) -> Iterator[tuple[tuple[str, ...], Mapping[str, int]]]:
        if metric.source.startswith("process "):
            yield (), self._process_stats
        else:
            yield from (((counts.queue,), counts.stats) for counts in self._fleet.queues)

    def _samples(self, metric: metrics.Metric) -> Iterator[Sample]:
        source, _, name = metric.source.partition(" ")
        match source:
            case "stats" | "process":
                yield from self._counts_by_owner(metric, name)
            case "totals":
                yield from self._totals(metric, name)
            case "counts":
                for counts in self._fleet.queues:
                    yield from _counted(name, counts)
            case "groups":
                yield from _extremes(name, self._fleet.rankings)
            case "schedules":
                for record in self._fleet.schedules:
                    yield (record.schedule.actor,), (record.fired_ms or 0) / 1000
            case "fleet":
                yield from _fleet_numbers(name, self._fleet.processes).items()
            case "intake" | "redis":
                yield from self._whole(name)

    def _whole(self, name: str) -> Iterator[Sample]:
        """Numbers without a label."""
        if name == "up":
            yield (), float(self._fleet.up)
        elif self._fleet.up:
            yield (), float(self._fleet.accept if name == "accept" else self._fleet.memory)

    def _counts_by_owner(self, metric: metrics.Metric, name: str) -> Iterator[Sample]:
        for owner, stats in self._hashes(metric):
            for labels, value in _counters(name, stats, len(metric.labels) - len(owner)):
                yield (*owner, *labels), value

    def _totals(self, metric: metrics.Metric, name: str) -> Iterator[Sample]:
        totals: Counter[tuple[str, ...]] = Counter()
        for _, stats in self._hashes(metric):
            totals.update(dict(_counters(name, stats, len(metric.labels))))
        yield from totals.items()


def _fleet_numbers(name: str, processes: Iterable[ProcessRecord]) -> Counter[tuple[str, ...]]:
    """What processes say of themselves, added up."""
    totals: Counter[tuple[str, ...]] = Counter()
    for one in processes:
        if name == "processes":
            totals[one.type.value, one.state.value, one.version] += 1
        elif one.type is not ProcessType.WORKER:
            continue
        elif name == "workers":
            totals[one.role, one.state.value, one.version] += 1
        elif name == "busy":
            totals[one.role,] += one.busy
        else:
            totals[one.role,] += 0 if one.state is ProcessState.DRAINING else one.capacity
    return totals


def _extremes(name: str, rankings: Mapping[str, Ranking]) -> Iterator[Sample]:
    for queue, ranking in rankings.items():
        if name == "depth":
            yield (queue,), float(ranking.deepest[0].depth) if ranking.deepest else 0.0
        else:
            yield (queue,), ranking.oldest[0].age_ms / 1000 if ranking.oldest else 0.0


def _counted(name: str, counts: QueueCounts) -> Iterator[Sample]:
    if name == "messages":
        yield from (((counts.queue, state), number) for state, number in counts.messages.items())
    elif name == "groups":
        yield from (((counts.queue, state), number) for state, number in counts.groups.items())
    elif name == "dead":
        yield from (((counts.queue, actor), number) for actor, number in counts.dead.items())
    elif name == "paused":
        yield (counts.queue,), float(counts.paused)
    else:
        yield (counts.queue,), (counts.oldest_ms or 0) / 1000


def _counters(name: str, stats: Mapping[str, int], labels: int) -> Iterator[tuple[tuple[str, ...], int]]:
    for stats_field, number in stats.items():
        found = _split(name, stats_field, labels)
        if found is not None:
            yield found, number


def _histograms(
    name: str, stats: Mapping[str, int], labels: int
) -> dict[tuple[str, ...], tuple[Counter[str], int]]:
    buckets: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    totals: Counter[tuple[str, ...]] = Counter()
    for stats_field, number in stats.items():
        found = _split(name, stats_field, labels + 1)
        if found is None:
            continue
        *owner, last = found
        if last == "sum_us":
            totals[tuple(owner)] += number
        elif last.startswith("le:"):
            buckets[tuple(owner)][last.removeprefix("le:")] += number
    return {owner: (counter, totals[owner]) for owner, counter in buckets.items()}


def _split(name: str, stats_field: str, labels: int) -> tuple[str, ...] | None:
    """The labels in a stats field of this name; only the first, an actor's name, may hold a bar itself."""
    head, *rest = stats_field.split("|")
    if head != name or len(rest) < labels or (labels == 0 and rest):
        return None
    return ("|".join(rest[: len(rest) - labels + 1]), *rest[len(rest) - labels + 1 :]) if labels else ()

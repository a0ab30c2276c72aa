"""Runs the measurements: in each round every one of them, the two systems in turn."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import measure
from benchmarks.figures import GROUPS, rate_key
from benchmarks.senders import LockstepSender, PlainSender, Sender
from benchmarks.server import Server
from lockstep.embedded import EmbeddedRedis

#: What one round measured: figure by system.
Round = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    messages: int = 20_000
    rounds: int = 3
    samples: int = 200  #: of idle latency
    enqueued: int = 5_000  #: one by one
    settle: float = 2.0  #: seconds until a worker counts as idle
    watch: float = 5.0  #: seconds that an idle worker is watched
    appendonly: bool = False  #: Redis keeps its data on disk


QUICK = Plan(messages=4_000, rounds=1, samples=50, enqueued=1_000, settle=1.0, watch=2.0)


@contextmanager
def systems(appendonly: bool) -> Iterator[tuple[Server, list[Sender]]]:
    """An embedded server of one's own, and a sender to it for each system."""
    with TemporaryDirectory(prefix="lockstep-bench-") as directory, ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis())
        url = redis.start(Path(directory), appendonly=appendonly)
        server = stack.enter_context(closing(Server(url)))
        senders: list[Sender] = [PlainSender(url), LockstepSender(url)]
        for sender in senders:
            stack.enter_context(closing(sender))
        yield server, senders


def run_round(server: Server, senders: list[Sender], plan: Plan, tell: Callable[[str], None]) -> Round:
    """Measure everything once; ``tell`` hears what happens now."""
    measured: Round = {sender.name: {} for sender in senders}
    # Interleaved, so that whatever else the machine does meets both systems alike.
    for groups in GROUPS:
        for sender in senders:
            tell(f"{sender.name}: drain {plan.messages:,} messages of {groups:,} groups")
            drained = measure.drain(sender, server, groups=groups, messages=plan.messages)
            _note_drain(measured[sender.name], groups, drained)
    for sender in senders:
        figures = measured[sender.name]
        tell(f"{sender.name}: idle latency")
        samples = measure.latencies(sender, server, samples=plan.samples)
        figures["latency_p50_ms"] = measure.percentile(samples, 0.50)
        figures["latency_p99_ms"] = measure.percentile(samples, 0.99)
        tell(f"{sender.name}: enqueue")
        single = measure.enqueue(sender, server, messages=plan.enqueued, batch=1)
        figures["enqueued_per_second"] = single.rate
        figures["redis_cpu_ms_enqueued"] = single.cpu_ms
        if sender.batches:
            many = measure.enqueue(sender, server, messages=plan.messages, batch=measure.BATCH)
            figures["enqueued_per_second_batch"] = many.rate
        tell(f"{sender.name}: idle worker")
        figures["idle_commands_per_second"] = measure.idle_commands(
            sender, server, settle=plan.settle, watch=plan.watch
        )
    return measured


def _note_drain(figures: dict[str, float], groups: int, drained: measure.Drained) -> None:
    figures[rate_key(groups)] = drained.rate
    if groups == GROUPS[0]:
        figures["redis_cpu_ms_drained"] = drained.cpu_ms
        figures["bytes_waiting"] = drained.waiting_bytes
    verdict = drained.verdict
    for key, count in (
        ("order_violations", verdict.violations),
        ("lost", verdict.lost),
        ("extra_runs", verdict.extra),
    ):
        figures[key] = figures.get(key, 0) + count

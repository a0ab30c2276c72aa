"""A tiny run with real workers: every figure is measured, and the check tells order from disorder."""

from collections.abc import Iterator

import pytest

from benchmarks import measure, report
from benchmarks.figures import FIGURES
from benchmarks.rounds import Plan, run_round, systems
from benchmarks.senders import LOCKSTEP, PLAIN, Sender
from benchmarks.server import Server

TINY = Plan(messages=300, rounds=1, samples=5, enqueued=50, settle=0.2, watch=0.5)

Bench = tuple[Server, dict[str, Sender]]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with systems(appendonly=False) as (server, senders):
        yield server, {sender.name: sender for sender in senders}


def test_the_check_calls_plain_dramatiq_disordered(bench: Bench) -> None:
    server, senders = bench
    verdict = measure.drain(senders[PLAIN], server, groups=2, messages=2_000).verdict
    assert verdict.violations > 0  # sixteen threads took one group's messages at once
    assert (verdict.lost, verdict.extra) == (0, 0)


def test_the_check_calls_lockstep_ordered(bench: Bench) -> None:
    server, senders = bench
    assert measure.drain(senders[LOCKSTEP], server, groups=2, messages=2_000).verdict.clean


def test_a_round_measures_every_figure(bench: Bench) -> None:
    server, senders = bench
    told: list[str] = []
    measured = run_round(server, list(senders.values()), TINY, told.append)

    found = {row.figure.key: row for row in report.rows([measured])}
    assert list(found) == [figure.key for figure in FIGURES]
    quiet = {"idle_commands_per_second"}  # an idle worker may be silent for the moment that a tiny run looks
    assert [key for key, row in found.items() if row.lockstep <= 0 and not row.figure.total] in ([], [*quiet])
    assert report.order_kept(list(found.values()))
    assert len(told) >= len(senders) * 4

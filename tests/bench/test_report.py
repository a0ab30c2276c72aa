"""Rounds become medians, multiples, sums and verdicts, and no figure is left out."""

import io

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.figures import FIGURES, rate_key
from benchmarks.measure import percentile
from benchmarks.rounds import Plan, Round

BATCH = "enqueued_per_second_batch"  # plain Dramatiq has none


def a_round(plain: float, lockstep: float, **ours: float) -> Round:
    return {
        "plain": {figure.key: plain for figure in FIGURES if figure.key != BATCH},
        "lockstep": {figure.key: lockstep for figure in FIGURES} | ours,
    }


def row(rounds: list[Round], key: str) -> report.Row:
    return next(row for row in report.rows(rounds) if row.figure.key == key)


def test_a_figure_is_the_median_of_the_rounds() -> None:
    rounds = [a_round(1, value) for value in (9.0, 1.0, 2.0)]
    assert row(rounds, "latency_p50_ms").lockstep == 2.0


def test_a_multiple_is_of_the_same_round() -> None:
    rounds = [a_round(100, 300), a_round(10, 50), a_round(1000, 4000)]
    assert row(rounds, rate_key(1000)).multiple == 4.0


def test_what_must_never_happen_is_added_up() -> None:
    rounds = [a_round(5, 0), a_round(5, 0, order_violations=1), a_round(5, 0)]
    assert row(rounds, "order_violations").lockstep == 1
    assert row(rounds, "order_violations").verdict == "missed"
    assert not report.order_kept(report.rows(rounds))
    assert report.order_kept(report.rows([a_round(5, 0)]))


@pytest.mark.parametrize(
    ("key", "value", "verdict"),
    [
        (rate_key(1000), 2.9, "missed"),
        (rate_key(1000), 3.0, "met"),
        (rate_key(1000), 5.0, "aim"),
        ("latency_p99_ms", 8.0, "missed"),
        ("latency_p99_ms", 7.9, "met"),
        ("latency_p99_ms", 3.9, "aim"),
        ("lost", 0, "aim"),
        ("enqueued_per_second", 1, ""),
    ],
)
def test_targets(key: str, value: float, verdict: str) -> None:
    assert row([a_round(1, value)], key).verdict == verdict


@pytest.mark.parametrize(("share", "expected"), [(0.5, 100), (0.99, 198), (1.0, 200), (0.0, 1)])
def test_percentiles_are_samples(share: float, expected: float) -> None:
    assert percentile(range(200, 0, -1), share) == expected


def test_the_table_and_the_document_hold_every_figure() -> None:
    rounds = [a_round(10, 20)]
    found = report.rows(rounds)
    printed = io.StringIO()
    Console(file=printed, width=200).print(report.table(found, Plan()))
    document = report.document(found, rounds, Plan(), "valkey 9")
    assert list(document["figures"]) == [figure.key for figure in FIGURES]
    assert document["environment"]["server"] == "valkey 9"
    assert [figure.label for figure in FIGURES if figure.label not in printed.getvalue()] == []

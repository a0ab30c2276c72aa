"""The checker by itself: each violation is found, and what is allowed is none."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.loadtest.check import KINDS, GroupCheck, Verdict
from lockstep.loadtest.latencies import Latencies
from lockstep.views import rfc3339

Records = list[dict[str, Any] | None]

START = 1_795_590_000_000


def record(number: int, *runs: tuple[int, int | None, str], state: str = "done") -> dict[str, Any]:
    """One message of a group, accepted at its number; runs are (started, ended, outcome), milliseconds."""
    return {
        "state": state,
        "group": "g",
        "sequence": number + 1,
        "enqueued_at": rfc3339(START + number),
        "attempts": [
            {
                "worker": "w",
                "started_at": rfc3339(START + started),
                "ended_at": None if ended is None else rfc3339(START + ended),
                "outcome": outcome,
                "error": None,
            }
            for started, ended, outcome in runs
        ],
    }


def good() -> list[Any]:
    return [
        record(0, (10, 20, "done")),
        record(1, (20, 30, "retry"), (50, 60, "crashed"), (60, 61, "done")),
        record(2, (61, 61, "released"), (61, 70, "done")),
        record(3, (80, 90, "done")),
    ]


def verdict_of(records: Records) -> Verdict:
    verdict = Verdict()
    check = GroupCheck("g", verdict)
    for number, one in enumerate(records):
        check.add(f"m{number}", one)
    return verdict


def test_order_with_retries_crashes_and_releases_is_order() -> None:
    verdict = verdict_of(good())
    assert (verdict.checked, verdict.found, verdict.unfinished, verdict.examples) == (4, {}, 0, [])
    assert verdict.extra == {"retry": 1, "crashed": 1, "released": 1}
    assert (verdict.wait.count, verdict.wait.longest) == (4, 77)
    assert verdict.latency.longest == 87


def _put(number: int, name: str, value: object) -> Callable[[list[Any]], object]:
    return lambda records: records[number].__setitem__(name, value)


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("lost", lambda records: records.__setitem__(2, None)),
        ("lost", lambda records: records[2]["attempts"].pop()),
        ("not done", _put(2, "state", "dead")),
        ("not done", _put(2, "state", "cancelled")),
        ("doubled", lambda records: records[2]["attempts"][0].__setitem__("outcome", "done")),
        ("group", _put(2, "group", "h")),
        ("group", _put(2, "group", None)),
        ("sequence", _put(2, "sequence", 2)),
        ("sequence", _put(2, "sequence", 1)),
        ("order", lambda records: records.__setitem__(2, record(2, (5, 8, "done")))),
        ("overlap", lambda records: records.__setitem__(2, record(2, (60, 70, "done")))),
        ("overlap", lambda records: records.__setitem__(2, record(2, (30, 31, "done")))),
        ("overlap", lambda records: records.__setitem__(1, record(1, (20, 30, "retry"), (25, 61, "done")))),
    ],
)
def test_each_violation_is_found(kind: str, break_it: Callable[[list[Any]], object]) -> None:
    records = deepcopy(good())
    break_it(records)
    verdict = verdict_of(records)
    assert verdict.found[kind] == 1, verdict
    assert kind in KINDS
    assert any(kind in example and ("m1" in example or "m2" in example) for example in verdict.examples)


def test_what_is_not_finished_is_neither_right_nor_wrong() -> None:
    verdict = verdict_of(
        [
            record(0, (10, 20, "done")),
            record(1, (20, None, "running"), state="running"),
            record(2, state="waiting"),
        ]
    )
    assert (verdict.found, verdict.unfinished, verdict.checked) == ({}, 2, 3)


def test_many_violations_are_counted_and_few_are_told() -> None:
    verdict = verdict_of([None] * 500)
    assert verdict.found == {"lost": 500}
    assert len(verdict.examples) == 10


@given(st.lists(st.floats(0.02, 1e6), min_size=1, max_size=200), st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_within_a_hundredth(values: list[float], percent: int) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    exact = sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
    found = latencies.percentile(percent)
    assert found is not None
    assert found == pytest.approx(exact, rel=0.0101)
    assert latencies.longest == max(values)

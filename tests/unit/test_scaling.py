"""The formula of the scaling hint."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.roles import Role
from lockstep.scaling import Demand, hint


def demand(**given: Any) -> Demand:
    nothing = {"queue": "q", "depth": 0, "due_soon": 0, "ready": 0, "running": 0, "oldest_ms": None}
    return Demand(**nothing | given)


def worker(master: int = 1, *, capacity: int = 5, busy: int = 0, state: str = "ready") -> ProcessRecord:
    return ProcessRecord(
        name=f"w{master}",
        type=ProcessType.WORKER,
        role="all",
        instance="i",
        host="h",
        pid=master,
        master_pid=master,
        boot="b",
        version="1",
        started_ms=0,
        state=ProcessState(state),
        busy=busy,
        capacity=capacity,
    )


def fleet(workers: int, capacity: int = 5) -> list[ProcessRecord]:
    return [worker(number, capacity=capacity) for number in range(workers)]


def wanted(*demands: Demand, workers: int = 0, capacity: int = 5, each: int = 5) -> int:
    return hint(Role.ALL, demands, fleet(workers, capacity), each).workers_wanted


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({}, 0),
        # Nothing has ended: each ready group wants a thread, and so does what runs, with room.
        ({"depth": 40, "ready": 7}, 7),
        ({"depth": 40, "ready": 7, "running": 16}, 20),
        # One group, however deep it is.
        ({"depth": 5000, "ready": 1, "mean": 2.0, "rate": 1.0}, 1),
        ({"depth": 5000, "running": 1, "mean": 2.0, "rate": 0.5}, 1),
        # What waits is to have run in 30 seconds.
        ({"depth": 3000, "ready": 500, "mean": 0.1, "rate": 50.0}, 10),
        ({"depth": 3000, "ready": 6, "mean": 0.1, "rate": 50.0}, 6),
        # Short messages: a worker has claimed many more than it runs.
        ({"depth": 9, "ready": 9, "running": 80, "mean": 0.001, "rate": 4000.0}, 5),
        # Long ones: none may have ended lately.
        ({"depth": 9, "ready": 9, "running": 8, "mean": 600.0, "rate": 0.001}, 17),
        ({"depth": 0, "ready": 9, "running": 8, "mean": 600.0, "rate": 0.001}, 10),
    ],
)
def test_threads(given: dict[str, Any], threads: float) -> None:
    assert demand(**given).threads == pytest.approx(threads)


def test_workers_are_rounded_up_and_as_large_as_those_that_run() -> None:
    busy = demand(depth=100, ready=12)
    assert wanted(busy, each=5) == 3
    assert wanted(busy, workers=1, capacity=4) == 3
    assert wanted(busy, workers=1, capacity=16, each=1) == 1


def test_one_while_anything_waits_and_none_for_nothing() -> None:
    assert wanted(demand()) == 0
    assert wanted(demand(), workers=3) == 0
    assert wanted(demand(due_soon=1)) == 1
    assert wanted(demand(depth=1)) == 1  # nothing of it is ready: it is paused, or waits for a limit


def test_too_late_wants_more_whatever_the_numbers_say() -> None:
    fast = {"depth": 100, "ready": 100, "running": 10, "mean": 0.01, "rate": 1.0}
    assert wanted(demand(**fast, oldest_ms=29_000), workers=4) == 1
    assert wanted(demand(**fast, oldest_ms=31_000), workers=4) == 5
    assert wanted(demand(**{**fast, "ready": 1, "running": 8}, oldest_ms=31_000), workers=4) == 2


def test_it_goes_up_at_once_and_down_by_steps_that_are_worth_it() -> None:
    answers = [wanted(demand(depth=ready, ready=ready), workers=10) for ready in (51, 50, 40, 36, 35, 5)]
    assert answers == [11, 10, 10, 10, 7, 1]


def test_a_worker_is_one_however_many_processes_it_has_and_none_when_it_drains() -> None:
    records = [worker(1, busy=2), worker(1, busy=1), worker(2, busy=5, state="draining")]
    found = hint(Role.ALL, [demand(depth=25, ready=25)], records, 5)
    assert (found.workers, found.capacity, found.busy, found.workers_wanted) == (1, 10, 3, 3)


demands = st.builds(
    demand,
    depth=st.integers(0, 10_000),
    due_soon=st.integers(0, 3),
    ready=st.integers(0, 1000),
    running=st.integers(0, 1000),
    oldest_ms=st.none() | st.integers(0, 100_000),
    rate=st.none() | st.floats(0, 10_000),
    mean=st.none() | st.floats(0, 1000),
)


@given(st.lists(demands, max_size=4), st.integers(0, 50), st.integers(1, 64))
def test_it_wants_no_more_than_is_useful_and_keeps_to_what_it_asked_for(
    some: list[Demand], workers: int, each: int
) -> None:
    found = hint(Role.ALL, some, fleet(workers, each), each)
    useful = sum(one.useful for one in some)
    assert 0 <= found.threads_wanted <= useful + 1e-6
    if not any(one.oldest_ms for one in some):
        again = hint(Role.ALL, some, fleet(found.workers_wanted, each), each)
        assert again.workers_wanted == found.workers_wanted

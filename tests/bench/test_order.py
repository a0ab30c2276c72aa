"""The check of the bench sees each thing that it is there for."""

import random

import pytest

from benchmarks.order import Verdict, check
from benchmarks.records import Run

SENT = [(group, number) for number in range(5) for group in range(3)]


@pytest.fixture
def runs() -> list[Run]:
    """Every message once, in order, as several processes would leave them: not sorted by time."""
    good = [Run(group, number, at) for at, (group, number) in enumerate(SENT, start=1)]
    random.shuffle(good)
    return good


def without(runs: list[Run], group: int, number: int) -> list[Run]:
    return [run for run in runs if run[:2] != (group, number)]


def test_an_ordered_run_is_clean(runs: list[Run]) -> None:
    assert check(runs, SENT) == Verdict(0, 0, 0)
    assert check(runs, SENT).clean


def test_a_message_that_overtook_is_a_violation(runs: list[Run]) -> None:
    late = [*without(runs, 1, 2), Run(1, 2, 100)]
    assert check(late, SENT) == Verdict(violations=1, lost=0, extra=0)


def test_two_at_the_same_moment_are_a_violation(runs: list[Run]) -> None:
    before = next(run for run in runs if run[:2] == (1, 1))
    together = [*without(runs, 1, 2), Run(1, 2, before.at)]
    assert check(together, SENT).violations == 1


def test_groups_do_not_order_each_other() -> None:
    apart = [Run(0, 0, 9), Run(1, 0, 1), Run(0, 1, 10), Run(1, 1, 2)]
    assert check(apart, [run[:2] for run in apart]).clean


def test_a_lost_message_is_counted_and_the_others_still_compared(runs: list[Run]) -> None:
    assert check(without(runs, 2, 3), SENT) == Verdict(violations=0, lost=1, extra=0)
    swapped = [*without(without(runs, 2, 3), 2, 2), Run(2, 2, 100)]
    assert check(swapped, SENT) == Verdict(violations=1, lost=1, extra=0)


def test_a_second_run_is_extra_and_the_first_counts_for_order(runs: list[Run]) -> None:
    assert check([*runs, Run(0, 1, 100)], SENT) == Verdict(violations=0, lost=0, extra=1)


def test_no_run_at_all_is_all_lost() -> None:
    assert check([], SENT) == Verdict(violations=0, lost=len(SENT), extra=0)

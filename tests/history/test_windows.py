import pytest

from tests.history.windows import fullest, longest_gap, most_at_once, used


@pytest.mark.parametrize(
    ("starts", "most"),
    [
        ([], 0),
        ([5], 1),
        ([0, 10, 20], 1),
        ([0, 9, 20], 2),
        ([0, 1, 2, 10, 11, 12], 3),
        ([8, 9, 10, 11], 4),
        ([3, 3, 3], 3),
    ],
)
def test_the_fullest_window_wherever_it_begins(starts: list[int], most: int) -> None:
    assert fullest(starts, 10) == most


def test_a_fixed_window_that_is_kept_does_not_deceive_it() -> None:
    # Two of each ten, counted from 0, from 10, and so on: four in a sliding window.
    assert fullest([8, 9, 10, 11], 10) == 4


def test_how_much_was_used() -> None:
    assert used([0, 0, 10, 10, 20, 20], 2, 10) == 1.0
    assert used([0, 0, 20, 20, 40, 40], 2, 10) == 0.5


def test_how_many_at_once() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(0, 10), (10, 20)]) == 1
    assert most_at_once([(0, 10), (5, 20), (6, 7)]) == 3


def test_the_longest_gap() -> None:
    assert longest_gap([1]) == 0
    assert longest_gap([30, 0, 10]) == 20

"""Each test breaks a world of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fault_run import FaultRun


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., FaultRun]]:
    """Makes the run of a test, with more settings as keywords."""
    runs: list[FaultRun] = []

    def make(**options: str) -> FaultRun:
        runs.append(FaultRun(tmp_path, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


@pytest.fixture
def run(make_run: Callable[..., FaultRun]) -> FaultRun:
    """A run with the usual settings."""
    return make_run()

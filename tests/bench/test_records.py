"""What threads record can be read by another process, whole."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.records import Reader, Recorder, body


def test_a_body_has_the_size_asked_for() -> None:
    assert len(body(0, 0, 100)) == len(body(9_999, 19_999, 100)) == 100


def test_every_run_of_every_thread_is_there_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, capacity=5_000)
    reader = Reader(tmp_path)
    assert reader.count() == 0

    started = time.monotonic_ns()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: recorder.add(body(number % 7, number, 100)), range(4_000)))
    ended = time.monotonic_ns()

    assert reader.count() == 4_000
    runs = reader.runs()
    assert sorted(run.number for run in runs) == list(range(4_000))
    assert all(run.group == run.number % 7 and started <= run.at <= ended for run in runs)

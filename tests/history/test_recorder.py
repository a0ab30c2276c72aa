"""A history is complete and readable whoever writes it, and however its writers end."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.history.checker import Outcome, check_file
from tests.history.events import Event, Kind, read
from tests.history.recorder import Recorder
from tests.support.waiting import PATIENCE

EVENTS = 500


def _write(path: Path, number: int) -> None:
    with Recorder(path) as recorder:
        for count in range(EVENTS):
            recorder.record(Kind.SENT, message=f"{number}-{count}", group="g" * 100)


def _write_for_ever(path: Path) -> None:
    with Recorder(path) as recorder:
        while True:
            recorder.record(Kind.SENT, message="m")


def test_events_keep_their_fields(tmp_path):
    with Recorder(tmp_path / "history") as recorder:
        written = recorder.record(Kind.FAULT, at=5, fault="kill", name="kill", pids=(1, 2), until=9)
    assert list(read(tmp_path / "history")) == [written]
    assert (written.at, written.pid, written.pids) == (5, os.getpid(), (1, 2))


def test_time_is_monotonic_and_shared(tmp_path):
    with Recorder(tmp_path / "history") as recorder:
        before = time.monotonic_ns()
        assert before <= recorder.record(Kind.SENT, message="m").at <= time.monotonic_ns()


def test_lines_of_many_processes_and_threads_never_mix(tmp_path):
    path = tmp_path / "history"
    context = multiprocessing.get_context("spawn")
    writers: list[Any] = [context.Process(target=_write, args=(path, number)) for number in range(3)]
    writers += [Thread(target=_write, args=(path, number)) for number in range(3, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)
    assert sorted(event.message for event in read(path)) == sorted(
        f"{number}-{count}" for number in range(5) for count in range(EVENTS)
    )


def test_what_a_killed_process_recorded_is_there(tmp_path):
    path = tmp_path / "history"
    writer = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(path,))
    writer.start()
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or path.stat().st_size < 10_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join(PATIENCE)
    assert path.stat().st_size == sum(len(event.encode()) for event in read(path))


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    path = tmp_path / "history"
    with Recorder(path) as recorder:
        event = recorder.record(Kind.SENT, message="m")
    with path.open("a") as file:
        file.write('{"event": "acce')
    assert list(read(path)) == [event]


def test_reading_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "history"
    with Recorder(path) as recorder:
        recorder.record(Kind.SENT, message="m")
        offset = path.stat().st_size
        later = recorder.record(Kind.SENT, message="n")
    assert list(read(path, offset)) == [later]


@pytest.mark.parametrize(
    "line", ['{"event": "sent", "at": 1, "pid": 1, "colour": "red"}', '{"event": "lunch", "at": 1, "pid": 1}']
)
def test_an_event_that_nobody_knows_is_an_error(line):
    with pytest.raises((TypeError, ValueError)):
        Event.decode(line)


def test_the_checker_reads_what_the_recorder_wrote(tmp_path):
    path = tmp_path / "history"
    with Recorder(path) as recorder:
        recorder.record(Kind.SENT, message="m", group="g", producer="p")
        recorder.record(Kind.ACCEPTED, message="m", group="g", producer="p", sequence=1)
        recorder.record(Kind.START, message="m", group="g", sequence=1, fence=1, run="r")
        recorder.record(Kind.END, message="m", group="g", run="r", outcome="done")
        recorder.record(Kind.FINAL, message="m", group="g", sequence=1, outcome="done")
        recorder.record(Kind.DRAINED, completed=1)
    verdict = check_file(path)
    assert verdict.outcome is Outcome.VALID, verdict

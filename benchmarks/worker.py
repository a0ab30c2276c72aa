"""The no-op actor and the start line; the worker modules of both systems are the same but for the broker."""

import logging
import os
import time
from pathlib import Path
from typing import Final

import dramatiq

from benchmarks.records import Recorder

QUEUE: Final = "bench"
#: How the driver tells a worker process where and how much to record.
DIRECTORY: Final = "BENCH_DIRECTORY"
CAPACITY: Final = "BENCH_CAPACITY"
#: How it tells which settings to use beside the defaults: ``NAME VALUE``, semicolon-separated.
POLICY: Final = "BENCH_POLICY"

_READY: Final = "ready-"
_GO: Final = "go"
#: Seconds that a process waits at the start line before it gives up.
_PATIENCE: Final = 60.0


class StartLine(dramatiq.Middleware):
    """Holds each worker process after its boot until all are there, so that none has a head start."""

    def __init__(self, directory: Path, capacity: int) -> None:
        self._directory = directory
        self._capacity = capacity
        self._recorder: Recorder | None = None

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """Report as ready and wait for the go."""
        self._recorder = Recorder(self._directory, self._capacity)
        (self._directory / f"{_READY}{os.getpid()}").touch()
        deadline = time.monotonic() + _PATIENCE
        while not (self._directory / _GO).exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the driver never said go")
            time.sleep(0.001)

    def note(self, body: str) -> None:
        """The actor: it records its start and does nothing else."""
        assert self._recorder is not None, "the process booted without the start line"
        self._recorder.add(body)


def declare(broker: dramatiq.Broker, line: StartLine | None = None) -> dramatiq.Actor[[str], None]:
    """The no-op actor on ``broker``; without a start line it can only be sent to."""

    @dramatiq.actor(broker=broker, actor_name="bench.note", queue_name=QUEUE)
    def note(body: str) -> None:
        if line is not None:
            line.note(body)

    return note


def serve(broker: dramatiq.Broker) -> None:
    """Make ``broker`` ready for the ``dramatiq`` command of this process."""
    logging.getLogger().setLevel(logging.WARNING)
    line = StartLine(Path(os.environ[DIRECTORY]), int(os.environ[CAPACITY]))
    broker.add_middleware(line)
    declare(broker, line)
    dramatiq.set_broker(broker)


def ready(directory: Path) -> int:
    """How many processes wait at the start line."""
    return len(list(directory.glob(f"{_READY}*")))


def go(directory: Path) -> None:
    """Let all waiting processes start."""
    (directory / _GO).touch()

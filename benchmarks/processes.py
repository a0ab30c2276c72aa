"""Starts worker processes by the ``dramatiq`` command, lets them go together, and stops them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import worker
from benchmarks.records import Reader


class BenchFailed(Exception):
    """The bench could not measure; its message says why."""


@contextmanager
def workers(module: str, url: str, *, processes: int, threads: int, capacity: int) -> Iterator[Reader]:
    """Run workers until the block ends.

    The block begins when all have booted and were told to go. What they recorded can be read after it, too.
    """
    with TemporaryDirectory(prefix="lockstep-bench-") as name:
        directory = Path(name)
        log = directory / "log"
        command = [
            sys.executable,
            "-m",
            "dramatiq",
            module,
            f"--processes={processes}",
            f"--threads={threads}",
        ]
        environment = {
            **os.environ,
            "REDIS_URL": url,
            "LOG_LEVEL": "warning",
            worker.DIRECTORY: str(directory),
            worker.CAPACITY: str(capacity),
        }
        with log.open("wb") as output:
            master = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            wait_for(
                lambda: worker.ready(directory) == processes,
                lambda: f"{module} did not start: {log.read_text()}",
                alive=lambda: master.poll() is None,
            )
            reader = Reader(directory)
            worker.go(directory)
            yield reader
        finally:
            _stop(master)


def wait_for(
    condition: Callable[[], bool],
    complaint: Callable[[], str],
    *,
    alive: Callable[[], bool] = lambda: True,
    timeout: float = 60.0,
    interval: float = 0.005,
) -> None:
    """Return when ``condition`` holds.

    Raises:
      BenchFailed: with the complaint, when it does not in time, or when ``alive`` ends first.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline or not alive():
            raise BenchFailed(complaint())
        time.sleep(interval)


def _stop(master: subprocess.Popen[bytes]) -> None:
    master.send_signal(signal.SIGTERM)
    try:
        master.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(master.pid, signal.SIGKILL)
        master.wait()
        raise BenchFailed("the workers did not stop within 30 s and were killed") from None

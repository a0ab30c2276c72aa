"""A worker process that is told to stop: each of its threads has the whole time, however it was started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.faults

THREADS = 8
PROGRAM = "import sys; from lockstep.cli import main; sys.argv = ['lockstep', *sys.argv[1:]]; main()"


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", PROGRAM, "worker"],
        [
            sys.executable,
            "-m",
            "dramatiq",
            "actors",
            "-p",
            "1",
            "-t",
            "8",
            "--worker-shutdown-timeout",
            "9000",
        ],
    ],
    ids=["lockstep", "dramatiq"],
)
def test_the_last_of_many_threads_has_its_whole_time(
    settings: Settings, store: Store, tmp_path: Path, command: list[str]
) -> None:
    assert settings.redis_url is not None
    environment = {
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "ACTOR_MODULES": "tests.support.staggered_actors",
        "WORKER_CONCURRENCY": str(THREADS),
        "WORKER_SHUTDOWN_TIMEOUT": "9",
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for("its threads are there", lambda: "worker.ready" in log.read_text())
        send(environment)
        wait_for("all run", lambda: log.read_text().count("begins") == THREADS)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, log.read_text()
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(PATIENCE)
    assert log.read_text().count("begins long") == 1
    assert log.read_text().count("has ended") == THREADS, log.read_text()
    assert store.counts("messages").messages[MessageState.DONE] == THREADS


def send(environment: dict[str, str]) -> None:
    program = (
        "import actors; from tests.support.staggered_actors import staggered;"
        f"actors.broker.enqueue_many([staggered.message() for _ in range({THREADS})])"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, check=True, timeout=PATIENCE
    )

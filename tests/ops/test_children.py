"""Children of an actor behave as in any program, while its worker runs and while it drains."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest

from lockstep.records import NewMessage
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.support.fleet import Fleet
from tests.support.waiting import wait_for

METHODS = ("fork", "spawn", "forkserver")
EXPECTED = {
    "masks": [0, 0],
    "exit": 7,
    "raise": 1,
    "send": 0,
    **{
        f"{how} {word}": number
        for how in ("popen", "preexec")
        for word, number in (("TERM", 15), ("INT", 2), ("HUP", 1))
    },
    "os.fork TERM": 15,
    "os.fork INT": 2,
    "os.fork HUP": 1,
    "at once": [15] * 30,
    **{f"process {method}": -15 for method in METHODS},
    **{f"pool {method}": "timed out" for method in METHODS},
    **{f"executor {method}": [-15] for method in METHODS},
}


@pytest.fixture
def fleet(tmp_path: Path, settings: Settings) -> Iterator[Fleet]:
    fleet = Fleet(
        tmp_path,
        REDIS_URL=str(settings.redis_url),
        QUEUE_NAMESPACE=settings.queue_namespace,
        ACTOR_MODULES="tests.support.forking_actors",
        LEASE_SECONDS="2",
        WORKER_CONCURRENCY="2",
        WORKER_SHUTDOWN_TIMEOUT="120",
    )
    yield fleet
    fleet.close()


def send(store: Store, **arguments: object) -> str:
    message = dramatiq.Message(
        queue_name="default", actor_name="forks", args=(), kwargs=arguments, options={}
    )
    store.enqueue("default", [NewMessage(id=message.message_id, actor="forks", payload=message.encode())])
    return message.message_id


def test_children_end_by_signals_and_send_while_the_worker_runs_and_while_it_drains(
    fleet: Fleet, store: Store, tmp_path: Path
) -> None:
    files = {drains: tmp_path / f"drains-{drains}" for drains in (False, True)}
    sent = {drains: send(store, file=str(file), drains=drains) for drains, file in files.items()}
    worker = fleet.start("worker")
    wait_for(
        f"both run:\n{worker.text}", lambda: all(Path(f"{file}.started").exists() for file in files.values())
    )
    wait_for(f"the children have ended:\n{worker.text}", files[False].exists)
    assert json.loads(files[False].read_text()) == EXPECTED
    wait_for("it is done", lambda: store.message(sent[False]).state is MessageState.DONE)
    worker.process.send_signal(signal.SIGTERM)
    wait_for(f"the children have ended:\n{worker.text}", files[True].exists)
    assert json.loads(files[True].read_text()) == EXPECTED
    wait_for("the worker has ended", lambda: worker.process.poll() is not None and not worker.members())
    assert worker.process.returncode == 0, worker.text
    assert store.message(sent[True]).state is MessageState.DONE

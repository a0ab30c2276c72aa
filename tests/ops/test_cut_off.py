"""A worker process whose actors do not end in time is gone before its groups are free."""

import signal
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest

from lockstep.records import NewMessage
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from middleware.lifecycle import EXIT_CUT_OFF
from tests.support.fleet import Fleet
from tests.support.waiting import wait_for

LEASE = 4.0


@pytest.fixture
def fleet(tmp_path: Path, settings: Settings) -> Iterator[Fleet]:
    fleet = Fleet(
        tmp_path,
        REDIS_URL=str(settings.redis_url),
        QUEUE_NAMESPACE=settings.queue_namespace,
        ACTOR_MODULES="tests.support.unending_actors",
        LEASE_SECONDS=str(LEASE),
        WORKER_SHUTDOWN_TIMEOUT="1",
        LOG_FORMAT="json",
    )
    yield fleet
    fleet.close()


def send(store: Store, actor: str, file: Path) -> str:
    message = dramatiq.Message(
        queue_name="default", actor_name=actor, args=(), kwargs={"file": str(file)}, options={}
    )
    new = NewMessage(id=message.message_id, actor=actor, payload=message.encode(), group=actor)
    store.enqueue("default", [new])
    return message.message_id


def test_the_process_is_gone_while_its_leases_still_hold(fleet: Fleet, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    sent = [send(store, actor, file) for actor in ("swallows", "delegates")]
    worker = fleet.start("worker")
    wait_for("both run", lambda: file.exists() and {"swallows", "delegates"} <= set(file.read_text().split()))
    worker.process.send_signal(signal.SIGTERM)
    wait_for(
        "all of its processes are gone", lambda: worker.process.poll() is not None and not worker.members()
    )
    assert worker.process.returncode == EXIT_CUT_OFF, worker.text
    assert "did not end within WORKER_SHUTDOWN_TIMEOUT" in worker.text
    assert "cancelled" in file.read_text()
    # Nothing released them: they were running when their process was gone, and are reclaimed when the leases end.
    assert [store.message(one).state for one in sent] == [MessageState.RUNNING] * 2
    fleet.start("worker")
    for one in sent:
        wait_for("it is done", lambda one=one: store.message(one).state is MessageState.DONE)
    assert file.read_text().split().count("swallows") == 2

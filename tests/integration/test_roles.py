"""Workers of a role, whatever started them: what they claim, what they leave, what they say."""

import dataclasses
import logging
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.waiting import wait_for


@pytest.fixture
def work(settings: Settings, caplog: pytest.LogCaptureFixture) -> Any:
    """Starts a worker of a role in this process, after the one before ended; answers its broker and what it logged."""
    caplog.set_level(logging.INFO, "lockstep.worker")
    started: list[Worker] = []

    def stop() -> None:
        while started:
            worker = started.pop()
            worker.stop()
            worker.broker.close()

    def start(queues: set[str] | None = None, **changes: Any) -> tuple[LockstepBroker, list[Any]]:
        stop()
        broker = make_broker(dataclasses.replace(settings, reap_seconds=0.2, **changes))
        for queue in ("messages", "email", "reports"):
            declare(broker, queue)
        caplog.clear()
        started.append(Worker(broker, worker_threads=2, worker_timeout=100, queues=queues))
        started[0].start()
        return broker, [line.msg for line in caplog.records if isinstance(line.msg, dict)]

    yield start
    stop()


def declare(broker: LockstepBroker, queue: str) -> Any:
    return dramatiq.actor(broker=broker, queue_name=queue, actor_name=f"{queue}.run")(lambda: None)


def sent(broker: LockstepBroker, *queues: str) -> dict[str, str]:
    return {queue: broker.actors[f"{queue}.run"].send().message_id for queue in queues}


def is_done(broker: LockstepBroker, message_id: str) -> bool:
    return broker.store.message(message_id).state is MessageState.DONE


def claimers(broker: LockstepBroker, queue: str) -> set[str]:
    return set(broker.store.counts(queue).claimers)


def test_two_dedicated_workers_share_the_queues(work: Any) -> None:
    email, _ = work(worker_role="email")
    ids = sent(email, "messages", "email", "reports")
    wait_for("the e-mail worker took e-mail", lambda: is_done(email, ids["email"]))
    assert email.store.counts("messages").messages[MessageState.WAITING] == 1
    assert claimers(email, "messages") == set()
    assert claimers(email, "email") == {email.owner}

    others, _ = work(worker_role="messages")
    ids |= sent(others, "email")
    for queue in ("messages", "reports"):
        wait_for(f"{queue} ran", lambda queue=queue: is_done(others, ids[queue]))
    assert others.store.message(ids["email"]).state is MessageState.WAITING
    assert claimers(others, "email") == set()
    assert claimers(others, "reports") == {others.owner}


def test_all_but_e_mail_and_what_is_declared_later(work: Any) -> None:
    broker, lines = work(start_email_worker=False)
    (told,) = [line for line in lines if line["event"] == "worker.started"]
    assert (told["role"], told["queues"]) == ("all", ["messages", "reports"])
    declare(broker, "late")
    declare(broker, "email.digests")
    ids = sent(broker, "email", "late", "email.digests")
    for queue in ("late", "email.digests"):
        wait_for(f"{queue} ran", lambda queue=queue: is_done(broker, ids[queue]))
    assert broker.store.message(ids["email"]).state is MessageState.WAITING


@pytest.mark.parametrize("changes", [{"worker_role": "broadcast"}, {"worker_queues": ("broadcast",)}])
def test_one_whose_queue_no_actor_declares_idles_and_says_so(work: Any, changes: dict[str, Any]) -> None:
    broker, lines = work(**changes)
    (told,) = [line for line in lines if line["event"] == "queue.undeclared"]
    assert (told["level"], told["queues"]) == ("warning", ["broadcast"])
    assert "idles" in told["why"]
    ids = sent(broker, "messages")
    declare(broker, "broadcast")  # later: it is taken then
    ids |= sent(broker, "broadcast")
    wait_for("it ran", lambda: is_done(broker, ids["broadcast"]))
    assert broker.store.message(ids["messages"]).state is MessageState.WAITING


def test_queues_on_dramatiqs_command_line_stand(work: Any) -> None:
    broker, lines = work({"reports"}, worker_role="email")
    (told,) = [line for line in lines if line["event"] == "worker.started"]
    assert told["queues"] == ["reports"]
    ids = sent(broker, "email", "reports")
    wait_for("it ran", lambda: is_done(broker, ids["reports"]))
    assert broker.store.message(ids["email"]).state is MessageState.WAITING


def test_one_that_finds_its_queues_complains_of_nothing(work: Any) -> None:
    _, lines = work()
    assert [line for line in lines if line["level"] == "warning"] == []

"""Messages sent to the actor, run by a real worker process, received by a real HTTP server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from dramatiq import Message

from lockstep.embedded import EmbeddedRedis
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.delivery.conftest import SECRET
from tests.delivery.receiver import Answer, Received, Receiver
from tests.support.waiting import PATIENCE

FINAL = {MessageState.DONE, MessageState.DEAD}


class Sender:
    """Sends to the actor as another program would, and sees what became of a message."""

    def __init__(self, url: str) -> None:
        from actors import broker as actors_broker

        self._actor = actors_broker.get_actor("messages.deliver")
        self._broker = make_broker(Settings(redis_url=url))
        self._broker.declare_actor(self._actor)

    def send(self, **kwargs: Any) -> str:
        arguments = {"instance_id": "acme", "customer_id": "c-1", "body": "hello", **kwargs}
        message: Message[Any] = self._actor.message(**arguments)
        return self._broker.enqueue(message).message_id

    def ended(self, message_id: str, timeout: float = PATIENCE) -> MessageRecord:
        deadline = time.monotonic() + timeout
        while (record := self._broker.store.message(message_id)).state not in FINAL:
            assert time.monotonic() < deadline, f"it did not end in time: {record}"
            time.sleep(0.02)
        return record

    def close(self) -> None:
        self._broker.close()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis() as redis:
        yield redis.start(tmp_path_factory.mktemp("redis"), appendonly=False)


@pytest.fixture
def sender(redis_url: str) -> Iterator[Sender]:
    made = Sender(redis_url)
    yield made
    made.close()


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Callable[..., Any]:
    """Runs a worker process with more settings; gives the path of its log."""

    @contextmanager
    def run(**settings: str) -> Iterator[Path]:
        log = tmp_path / "worker.log"
        environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "LOG_LEVEL": "debug",
            "BACKOFF": "fixed:100ms",
            "DELIVERY_SECRET": SECRET,
            **settings,
        }
        command = [sys.executable, "-m", "dramatiq", "actors", "--processes=1", "--threads=4"]
        with log.open("wb") as output:
            master = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            yield log
        finally:
            master.send_signal(signal.SIGTERM)
            try:
                assert master.wait(PATIENCE) == 0, log.read_text()
            finally:
                if master.poll() is None:
                    os.killpg(master.pid, signal.SIGKILL)
                    master.wait()

    return run


def ids(requests: list[Received]) -> list[str]:
    return [request.headers["webhook-id"] for request in requests]


def test_a_failing_message_keeps_its_place_and_tells_its_attempts(
    worker: Callable[..., Any], sender: Sender, receiver: Receiver
) -> None:
    receiver.answers = [Answer(500), Answer(503), Answer(200)]
    sent = [sender.send(body={"n": n}, channel="sms") for n in range(3)]
    with worker(DELIVERY_URL=receiver.url) as log:
        last = sender.ended(sent[-1])

    first, second, third = sent
    assert ids(receiver.received) == [first, first, first, second, third]
    assert [request.headers["lockstep-attempt"] for request in receiver.received] == list("12311")
    fences = [int(request.headers["lockstep-fence"]) for request in receiver.received]
    assert fences == sorted(set(fences))
    sequences = [int(request.headers["lockstep-sequence"]) for request in receiver.received]
    assert sequences[0] == sequences[1] == sequences[2] < sequences[3] < sequences[4]
    assert json.loads(receiver.received[4].body) == {
        "id": third,
        "instance_id": "acme",
        "customer_id": "c-1",
        "body": {"n": 2},
        "channel": "sms",
    }
    assert last.group == "acme:c-1"
    assert last.result is not None
    assert json.loads(last.result) == {"delivered": True, "status": 200, "host": receiver.netloc}
    assert SECRET not in log.read_text()


def test_a_refusal_is_dead_at_once(worker: Callable[..., Any], sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [Answer(404)]
    refused, next_one = sender.send(), sender.send()
    with worker(DELIVERY_URL=receiver.url):
        assert sender.ended(next_one).state is MessageState.DONE
        record = sender.ended(refused)
    assert record.state is MessageState.DEAD
    assert [attempt.outcome for attempt in record.attempts] == ["dead"]
    assert ids(receiver.received) == [refused, next_one]


def test_retry_after_is_waited_for(worker: Callable[..., Any], sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "1"})]
    message = sender.send()
    with worker(DELIVERY_URL=receiver.url):
        record = sender.ended(message)
    first, second = record.attempts
    assert first.ended_ms is not None
    assert second.started_ms - first.ended_ms >= 1_000  # the backoff of this worker is 100 ms
    assert record.state is MessageState.DONE


def test_an_answer_whose_head_trickles_is_cut_off_and_retried(
    worker: Callable[..., Any], sender: Sender, receiver: Receiver
) -> None:
    def trickle(stream: IO[bytes]) -> None:
        stream.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(600):
            stream.write(f"x-{number}: 1\r\n".encode())
            stream.flush()
            time.sleep(0.05)

    receiver.answers = [Answer(write=trickle)]
    message = sender.send()
    with worker(DELIVERY_URL=receiver.url, DELIVERY_TIMEOUT="300ms"):
        record = sender.ended(message)
    assert record.state is MessageState.DONE
    assert [attempt.outcome for attempt in record.attempts] == ["retry", "done"]


def test_without_a_destination_the_result_says_so(worker: Callable[..., Any], sender: Sender) -> None:
    message = sender.send(body="a private text")
    with worker(DELIVERY_URL="") as log:
        record = sender.ended(message)
    assert record.result is not None
    assert json.loads(record.result) == {"delivered": False, "reason": "no destination"}
    lines = [line for line in log.read_text().splitlines() if "delivery.skipped" in line]
    assert len(lines) == 1
    assert message in lines[0]
    assert "a private text" not in log.read_text()

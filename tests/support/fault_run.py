"""One experiment: a server of its own, workers, messages, faults; and the verdict over its history."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dramatiq import Message

from lockstep.embedded import EmbeddedRedis
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.history.checker import Verdict, check_file
from tests.history.events import Event, FaultKind, Kind, read
from tests.history.history import Bounds
from tests.history.recorder import Recorder
from tests.support import steps
from tests.support.waiting import PATIENCE, wait_for
from tests.support.worker import THREADS, Worker

LEASE = 2.0
QUEUE = "default"
FINISHED = {MessageState.DONE, MessageState.DEAD, MessageState.CANCELLED}


class FaultRun:
    """Sends messages to workers, lets a test break things, and says whether the history is valid."""

    def __init__(self, directory: Path, module: str = "actors", **environment: str) -> None:
        self.directory, self.module = directory, module
        steps.make_resource(directory)
        self.recorder = Recorder(steps.history_of(directory))
        self.redis = EmbeddedRedis()
        self.environment = {
            "REDIS_URL": self.redis.start(directory / "redis"),
            "QUEUE_NAMESPACE": "faults",
            "LEASE_SECONDS": str(LEASE),
            "REAP_SECONDS": "0.5",
            "ACTOR_MODULES": "tests.support.fault_actors",
            "LOG_FORMAT": "json",
            "BACKOFF": f"fixed:{steps.RETRY_MS / 1000}s",
            "MAX_ATTEMPTS": "5",
            "RETENTION_DONE_COUNT": "100000",
            **environment,
        }
        self.broker = make_broker(Settings.load(self.environment, env_file=""))
        self.store = self.broker.store
        self.actor = steps.declare(self.broker, group_by="{group}")
        self.workers: list[Worker] = []
        self.sent: list[str] = []

    # -- workers and messages -----------------------------------------------------------------------------------

    def start(self, count: int = 1, *, threads: int = THREADS, **environment: str) -> list[Worker]:
        """Start workers and wait until they are ready."""
        started = [self._spawn({**self.environment, **environment}, threads) for _ in range(count)]
        for worker in started:
            worker.wait_ready()
        return started

    def _spawn(self, environment: Mapping[str, str], threads: int) -> Worker:
        worker = Worker(self.directory, environment, self.module, len(self.workers), threads)
        self.workers.append(worker)
        return worker

    def send(self, group: str, **arguments: Any) -> str:
        """Send one step."""
        message = self.actor.message(group=group, **arguments)
        return self.submit(message, group)

    def submit(self, message: Message[Any], group: str) -> str:
        """Send a message, and record it."""
        self._record_sending(message.message_id, group, lambda: self.broker.submit(message))
        return message.message_id

    def send_later(self, group: str, delay_ms: int) -> str:
        """Send one step that joins its group after ``delay_ms``."""
        return self.send_with(group, {}, delay_ms=delay_ms)

    def send_with(
        self, group: str, options: Mapping[str, Any], *, delay_ms: int = 0, **arguments: Any
    ) -> str:
        """Send one step with options of its own."""
        message = self.actor.message_with_options(kwargs={"group": group, **arguments}, **options)
        send = lambda: self.broker.submit(message, delay=delay_ms)  # noqa: E731
        self._record_sending(message.message_id, group, send, delay_ms)
        return str(message.message_id)

    def _record_sending(self, message_id: str, group: str, send: Any, delay_ms: int = 0) -> None:
        facts: dict[str, Any] = {"message": message_id, "group": group, "producer": "test"}
        self.sent.append(message_id)
        self.recorder.record(Kind.SENT, delay_ms=delay_ms, **facts)
        accepted = send()
        self.recorder.record(Kind.ACCEPTED, sequence=accepted.sequence, **facts)

    def send_raw(self, new: Any) -> str:
        """Send what no broker would: a message as the store sees it."""
        self._record_sending(new.id, new.group, lambda: self.store.enqueue(QUEUE, [new])[0])
        return str(new.id)

    def load(self, groups: int, each: int, seconds: float) -> None:
        """Send ``each`` messages to each of some groups, in turns."""
        for _ in range(each):
            for number in range(groups):
                self.send(f"g{number}", seconds=seconds)

    # -- faults -------------------------------------------------------------------------------------------------

    def kill(self, worker: Worker, *pids: int, name: str = "kill") -> None:
        """Kill processes of a worker; the fault is dated when they are gone, so it covers every last start."""
        worker.signal(9, *pids)
        wait_for("the killed are gone", lambda: not any(Path(f"/proc/{pid}/fd/0").exists() for pid in pids))
        self.recorder.record(Kind.FAULT, fault=FaultKind.KILL, name=name, pids=pids)

    @contextmanager
    def fault(self, kind: FaultKind, name: str, *pids: int) -> Iterator[None]:
        """Record that the block is a fault."""
        since = time.monotonic_ns()
        yield
        until = time.monotonic_ns()
        self.recorder.record(Kind.FAULT, at=since, until=until, fault=kind, name=name, pids=pids)

    def bit(self, name: str) -> None:
        """Record that there is evidence that a fault did something."""
        self.recorder.record(Kind.BIT, name=name)

    # -- looking ------------------------------------------------------------------------------------------------

    def events(self, kind: Kind, message_id: str = "") -> list[Event]:
        """What was recorded so far."""
        found = (event for event in read(steps.history_of(self.directory)) if event.event is kind)
        return [event for event in found if message_id in ("", event.message)]

    def wait_started(self, message_id: str, times: int = 1) -> Event:
        """The start of a message's run, once it has."""
        reached: list[Event] = wait_for(
            f"{times} starts of {message_id}",
            lambda: (found := self.events(Kind.START, message_id))[times - 1 :] and found,
        )
        return reached[times - 1]

    def wait_done(self, count: int) -> None:
        """Return when so many runs have ended."""
        wait_for(f"{count} ends", lambda: len(self.events(Kind.END)) >= count)

    def wait_running(self, *workers: Worker) -> Worker:
        """Return the worker of whose many short runs one has just begun: a fault that comes now hits it."""

        def began() -> Worker | None:
            fresh = time.monotonic_ns() - 10_000_000  # first: to read a long history takes its time, too
            found = list(read(steps.history_of(self.directory)))
            ended = {event.run for event in found if event.event is Kind.END}
            pids = {
                event.pid
                for event in found
                if event.event is Kind.START and event.run not in ended and event.at > fresh
            }
            return next((worker for worker in workers if worker.child in pids), None)

        busy: Worker = wait_for("a run has begun", began)
        return busy

    def record_of(self, message_id: str) -> MessageRecord:
        """What the store says about a message."""
        return self.store.message(message_id)

    def unfinished(self) -> int:
        """How many messages are not at their end."""
        counts = self.store.counts(QUEUE).messages
        return sum(number for state, number in counts.items() if state not in FINISHED)

    def drain(self, timeout: float = PATIENCE) -> None:
        """Wait until nothing is left to do, then record where everything is."""
        wait_for("everything is drained", lambda: self.unfinished() == 0, timeout)
        drained = time.monotonic_ns()  # to look at every message takes its time, too
        for message_id in self.sent:
            record = self.record_of(message_id)
            error = next((str(one.error["message"]) for one in record.attempts[::-1] if one.error), "")
            self.recorder.record(
                Kind.FINAL,
                message=message_id,
                group=record.group,
                sequence=record.sequence,
                outcome=record.state,
                attempts=len(record.attempts),
                error=error,
            )
        done = self.store.counts(QUEUE).messages[MessageState.DONE]
        self.recorder.record(Kind.DRAINED, at=drained, completed=done)

    def verdict(self, **bounds: float) -> Verdict:
        """What the checker says about everything so far, with the usual bounds or others."""
        lease = float(self.environment["LEASE_SECONDS"])
        return check_file(
            steps.history_of(self.directory), Bounds(**{"lease": lease, "drain": PATIENCE, **bounds})
        )

    def close(self) -> None:
        """End every process."""
        for worker in self.workers:
            worker.clear()
        self.broker.close()
        if self.redis.pid is not None:
            os.kill(self.redis.pid, 18)  # SIGCONT, if a test left it frozen
        self.redis.stop()
        self.recorder.close()

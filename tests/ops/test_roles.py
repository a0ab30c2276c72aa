"""Workers of two roles side by side, one by our command and one by Dramatiq's own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lockstep.machine import Machine
from lockstep.processes import ProcessRecord, ProcessState
from lockstep.records import NewMessage
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.ops.test_commands import command, environment  # noqa: F401  (a fixture)
from tests.support.waiting import PATIENCE, wait_for

ACTORS = """
import dramatiq

for queue in ("email", "reports"):
    dramatiq.actor(lambda: None, actor_name=f"{queue}.run", queue_name=queue)
"""
PAYLOAD = (
    b'{"queue_name":"%s","actor_name":"%s.run","args":[],"kwargs":{},"options":{},'
    b'"message_id":"%s","message_timestamp":1}'
)


@contextmanager
def running(arguments: list[str], given: dict[str, str], directory: Path, log: Path) -> Iterator[None]:
    with log.open("w") as output:
        worker = subprocess.Popen(arguments, env=given, cwd=directory, stdout=output, stderr=output)
        try:
            yield
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE) == 0, log.read_text()
        finally:
            worker.kill()
            worker.wait()


def test_each_takes_what_its_role_says(environment: dict[str, str], tmp_path: Path, store: Store) -> None:  # noqa: F811
    (tmp_path / "mails.py").write_text(ACTORS)
    given = {**environment, "ACTOR_MODULES": "mails", "PYTHONPATH": str(tmp_path), "LOG_FORMAT": "console"}
    ours, plain = tmp_path / "ours.log", tmp_path / "plain.log"
    dramatiq = [sys.executable, "-m", "dramatiq", "actors", "-p", "1", "-t", "2", "--skip-logging"]
    with ExitStack() as stack:
        changed = {**given, "WORKER_ROLE": "messages", "WORKER_CONCURRENCY": "auto"}
        stack.enter_context(running(command(["worker"]), changed, tmp_path, ours))
        stack.enter_context(running(dramatiq, {**given, "WORKER_ROLE": "email"}, tmp_path, plain))
        email, messages = wait_for("both are ready", lambda: ready(store))
        assert (messages.role, email.role) == ("messages", "email")
        assert email.queues == ("email",)
        assert set(messages.queues) >= {"messages", "reports"}
        assert "email" not in messages.queues
        assert (messages.capacity, email.capacity) == (Machine.read().threads(1), 2)

        for queue, worker in (("email", email), ("reports", messages)):
            name = queue.encode()
            new = NewMessage(id=queue, actor=f"{queue}.run", payload=PAYLOAD % (name, name, name))
            store.enqueue(queue, [new])
            wait_for(f"{queue} ran", lambda queue=queue: store.message(queue).state is MessageState.DONE)
            assert [one.worker for one in store.message(queue).attempts] == [worker.name]
    shown = Settings.load(changed, env_file="").masked()["WORKER_CONCURRENCY"]
    assert shown.startswith("auto (")
    assert shown in ours.read_text()


def ready(store: Store) -> list[ProcessRecord]:
    """Both workers, by role, once they are."""
    records = [one for one in store.processes.listing() if one.state is ProcessState.READY]
    return sorted(records, key=lambda one: one.role) if len(records) == 2 else []

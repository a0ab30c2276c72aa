"""django_dramatiq: a project whose settings name the broker by its class path.

In a process of its own: Django is set up once for each process.
"""

import os
import subprocess
import sys
from pathlib import Path

from lockstep.settings import Settings
from tests.support.waiting import LONG_COMMAND

PROGRAM = """
import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_dramatiq"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1], "OPTIONS": {"timeout": 60}}},
    DRAMATIQ_BROKER={
        "BROKER": "lockstep.broker.LockstepBroker",
        "OPTIONS": {"worker_concurrency": 2},
        "MIDDLEWARE": [
            "dramatiq.middleware.prometheus.Prometheus",  # a worker in this process has no metrics
            "dramatiq.middleware.AgeLimit",
            "dramatiq.middleware.TimeLimit",
            "dramatiq.middleware.Callbacks",
            "dramatiq.middleware.Retries",
            "django_dramatiq.middleware.AdminMiddleware",
            "django_dramatiq.middleware.DbConnectionsMiddleware",
        ],
    },
    DRAMATIQ_RESULT_BACKEND={
        "BACKEND": "dramatiq.results.backends.StubBackend",
        "MIDDLEWARE_OPTIONS": {"result_ttl": 60_000},
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command

call_command("migrate", verbosity=0)

import dramatiq
from dramatiq.worker import Worker
from django_dramatiq.models import Task
from lockstep.broker import LockstepBroker

broker = dramatiq.get_broker()
assert type(broker) is LockstepBroker, broker


@dramatiq.actor(group_by="{n}", store_results=True, backoff="fixed:10ms", max_attempts=2)
def work(n):
    if n < 0:
        raise ValueError(n)
    return n * 2


good, bad = work.send(21), work.send(-1)
delayed = work.send_with_options(args=(1,), delay=60_000)
states = {str(task.id): task.status for task in Task.tasks.all()}
assert states == {good.message_id: "enqueued", bad.message_id: "enqueued", delayed.message_id: "delayed"}, states
worker = Worker(broker, worker_threads=1, worker_timeout=100)
worker.start()
print("result", good.get_result(block=True, timeout=300_000))
import time
from lockstep.states import MessageState

deadline = time.monotonic() + 300
while broker.store.message(bad.message_id).state is not MessageState.DEAD and time.monotonic() < deadline:
    time.sleep(0.02)
worker.stop()
print("tasks", sorted(task.status for task in Task.tasks.all()))
broker.flush_all()
broker.close()
"""


def test_a_project_sends_runs_and_lists_its_tasks(settings: Settings, tmp_path: Path) -> None:
    assert settings.redis_url is not None
    environment = {
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "LOG_LEVEL": "error",
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "tasks.sqlite3")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LONG_COMMAND,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["result 42", "tasks ['delayed', 'done', 'failed']"], result.stderr

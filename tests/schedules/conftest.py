"""Scheduler processes on the test's namespace."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.schedulers import Process, Ticks


@pytest.fixture
def ticks(redis_url: str, store: Store) -> Iterator[Ticks]:
    client = redis.Redis.from_url(redis_url)
    yield Ticks(client, store)
    client.close()


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts scheduler processes; whatever is left of them is killed after the test."""
    started: list[Process] = []

    def start(cron: str, *command: str, **environment: str) -> Process:
        assert settings.redis_url is not None
        given = {
            "REDIS_URL": settings.redis_url,
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "ACTOR_MODULES": "tests.support.periodic_actors",
            "TEST_CRON": cron,
            **environment,
        }
        started.append(Process(tmp_path / f"scheduler-{len(started)}.log", given, *command))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()

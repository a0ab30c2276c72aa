"""Scheduler processes on the test's namespace."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.schedulers import ACTORS, Declare, Process, Start, Ticks
from tests.support.waiting import wait_for


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
        started.append(Process(tmp_path, given, f"scheduler-{len(started)}", *command))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def declare(start: Start, ticks: Ticks) -> Declare:
    """Let a scheduler declare the schedules and end; then set their marks back."""

    def declare(cron: str, mark: int) -> None:
        first = start(cron)
        wait_for("it is declared", lambda: all(map(ticks.record, ACTORS)))
        assert first.stop()[0] == 0, first.text
        assert ticks.sent() == 0
        assert all(ticks.patch(actor, mark=mark) for actor in ACTORS)

    return declare

"""What all tests share: one embedded server, and a fresh namespace for each test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from lockstep.broker import LockstepBroker
from lockstep.embedded import EmbeddedRedis
from lockstep.settings import Settings
from lockstep.store import Store
from middleware import make_broker

#: Files whose few tests wait for many processes. They come first, so that the others run beside them and not before.
LONGEST = (
    *("test_deploy.py", "test_rolling_reload.py", "test_deploy_refusals.py", "test_runbook.py", "test_up.py"),
    *(
        "test_supervisord.py",
        "test_listener.py",
        "test_up_reload.py",
        "test_terminal.py",
        "test_processes.py",
    ),
    *("test_run.py", "test_commands.py", "test_dead_commands.py", "test_operating_commands.py"),
)

# An example takes as long as the machine makes it.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server for the whole run; its data go with it."""
    data: Path = tmp_path_factory.mktemp("redis")
    server = EmbeddedRedis()
    url = server.start(data)
    yield url
    server.stop()


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings with a namespace of its own."""
    return Settings.load(
        {"REDIS_URL": redis_url, "QUEUE_NAMESPACE": f"t{secrets.token_hex(6)}", "LEASE_SECONDS": "3"},
        env_file="",
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """A store on the test's namespace."""
    store = Store.connect(settings)
    yield store
    store.close()


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    """A broker with the default middleware."""
    broker = make_broker(settings)
    yield broker
    broker.close()

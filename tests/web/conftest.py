import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis

from lockstep.broker import LockstepBroker
from lockstep.embedded import EmbeddedRedis
from lockstep.settings import Settings
from middleware import make_broker
from tests.web.client import Client, client_of
from web.app import create_app


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis() as server:
        yield server.start(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, queue_namespace=f"test-{secrets.token_hex(4)}", instance_id="test")


@pytest.fixture
def make_client() -> Iterator[Callable[[Settings], Client]]:
    """Builds clients of an application with its own broker and three actors."""
    made: list[tuple[Client, LockstepBroker]] = []

    def make(settings: Settings, **options: Any) -> Client:
        broker = make_broker(settings)
        declare_actors(broker)
        client = client_of(create_app(broker, settings), **options)
        made.append((client, broker))
        return client

    yield make
    for client, broker in made:
        client.app.state.context.threads.close()
        broker.close()


def declare_actors(broker: LockstepBroker) -> None:
    @dramatiq.actor(broker=broker, queue_name="mail", actor_name="mail.send")
    def send(to: str, body: str = "") -> None: ...

    @dramatiq.actor(broker=broker, queue_name="other", actor_name="anything")
    def anything(*args: Any, **kwargs: Any) -> None: ...


@pytest.fixture
def client(settings: Settings, make_client: Callable[[Settings], Client]) -> Client:
    return make_client(settings)


@pytest.fixture
def snapshot(redis_url: str, settings: Settings) -> Callable[[], dict[bytes, bytes]]:
    """Everything that Redis holds of this test's namespace, to compare."""

    def take() -> dict[bytes, bytes]:
        with redis.Redis.from_url(redis_url) as connection:
            keys = sorted(connection.scan_iter(f"*{settings.queue_namespace}*"))
            return {key: connection.dump(key) for key in keys}

    return take


@pytest.fixture
def lonely_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of this test's own, to break."""
    with EmbeddedRedis() as server:
        server.start(tmp_path / "redis")
        yield server

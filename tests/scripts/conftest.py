"""Each test of a script has a shard of its own on the real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lockstep.embedded import EmbeddedRedis
from lockstep.keys import ShardKeys
from lockstep.settings import Settings
from tests.scripts.shard import Shard


@pytest.fixture
def shard(redis_url: str, settings: Settings) -> Iterator[Shard]:
    client = redis.Redis.from_url(redis_url, protocol=2)
    yield Shard(client, ShardKeys(settings.queue_namespace, "q", 0))
    client.close()


@pytest.fixture
def lone_shard(settings: Settings, tmp_path: Path) -> Iterator[Shard]:
    """A shard on a server that nobody else sends commands to, where commands are counted."""
    with (
        EmbeddedRedis() as server,
        redis.Redis.from_url(server.start(tmp_path / "redis"), protocol=2) as client,
    ):
        yield Shard(client, ShardKeys(settings.queue_namespace, "q", 0))

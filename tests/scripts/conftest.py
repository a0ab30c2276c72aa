"""Each test of a script has a shard of its own on the real server."""

from collections.abc import Iterator

import pytest
import redis

from lockstep.keys import ShardKeys
from lockstep.settings import Settings
from tests.scripts.shard import Shard


@pytest.fixture
def shard(redis_url: str, settings: Settings) -> Iterator[Shard]:
    client = redis.Redis.from_url(redis_url, protocol=2)
    yield Shard(client, ShardKeys(settings.queue_namespace, "q", 0))
    client.close()

"""Redis is killed, frozen, or was never there: clients hear it in time, and nothing is accepted."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockstep.embedded import EmbeddedRedis
from lockstep.errors import RedisUnavailable
from lockstep.settings import Settings
from tests.support.freezing import freeze
from tests.web.client import Client
from web.context import Threads

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}, "id": "m-1"}
#: Seconds. Without a timeout, a frozen Redis would hold a request for as long as it is frozen.
WITHIN = 20.0


@pytest.fixture
def lonely(
    settings: Settings, lonely_redis: EmbeddedRedis, make_client: Callable[[Settings], Client]
) -> Client:
    return make_client(replace(settings, redis_url=lonely_redis.url))


@pytest.fixture
def frozen(lonely: Client, lonely_redis: EmbeddedRedis) -> Iterator[Client]:
    assert lonely.get("/readyz").status_code == 200
    assert lonely_redis.pid
    freeze(lonely_redis.pid)
    yield lonely
    os.kill(lonely_redis.pid, signal.SIGCONT)


def assert_away(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "127.0.0.1" not in response.text


def assert_all_away(client: Client) -> None:
    for call in (
        lambda: client.post("/api/v1/messages", MAIL),
        lambda: client.post("/api/v1/messages/batch", {"messages": [MAIL]}),
        lambda: client.get("/api/v1/messages/m-1"),
        lambda: client.get("/api/v1/queues"),
        lambda: client.get("/queue/status"),
        lambda: client.get("/readyz"),
    ):
        started = time.monotonic()
        assert_away(call())
        assert time.monotonic() - started < WITHIN
    assert client.get("/livez").status_code == 200


def redis_up(client: Client) -> float:
    families = {one.name: one for one in text_string_to_metric_families(client.get("/metrics").text)}
    assert ("lockstep_redis_memory_bytes" in families) and families["lockstep_http_requests"].samples
    return families["lockstep_redis_up"].samples[0].value


def test_redis_killed_and_back(lonely: Client, lonely_redis: EmbeddedRedis) -> None:
    assert lonely.post("/api/v1/messages", {**MAIL, "id": "before"}).status_code == 202
    assert redis_up(lonely) == 1
    assert lonely_redis.pid
    directory = lonely_redis._directory
    os.kill(lonely_redis.pid, signal.SIGKILL)
    assert_all_away(lonely)
    assert redis_up(lonely) == 0
    lonely_redis.stop()
    lonely_redis.start(directory, lonely_redis.port)
    assert lonely.get("/readyz").status_code == 200
    assert redis_up(lonely) == 1
    assert lonely.get("/api/v1/messages/before").json()["state"] == "waiting"
    assert lonely.get("/api/v1/messages/m-1").status_code == 404


def test_redis_frozen(frozen: Client) -> None:
    assert_all_away(frozen)
    assert redis_up(frozen) == 0


def test_many_clients_at_once_all_hear_it_in_time(frozen: Client) -> None:
    def send(number: int) -> float:
        started = time.monotonic()
        assert_away(frozen.post("/api/v1/messages", {**MAIL, "id": f"m-{number}"}))
        return time.monotonic() - started

    with ThreadPoolExecutor(40) as clients:
        assert max(clients.map(send, range(40))) < WITHIN


def test_no_redis_configured(settings: Settings, make_client: Callable[[Settings], Client]) -> None:
    assert_all_away(make_client(replace(settings, redis_url=None)))


def test_a_call_that_did_not_start_in_time_never_does() -> None:
    started = []

    async def main() -> None:
        threads = Threads(0.2, size=1)
        first = asyncio.create_task(threads.run(lambda: time.sleep(0.5)))
        await asyncio.sleep(0)
        with pytest.raises(RedisUnavailable):
            await threads.run(lambda: started.append("late"))
        with pytest.raises(RedisUnavailable):
            await first
        threads.close()

    asyncio.run(main())
    assert started == []

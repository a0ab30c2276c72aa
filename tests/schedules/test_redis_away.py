"""Schedulers whose Redis is away, comes back, stands still, or is not there yet."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from lockstep.embedded import EmbeddedRedis
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.freezing import freeze
from tests.support.schedulers import SOON, Process, Ticks
from tests.support.waiting import wait_for

Start = Callable[..., Process]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of this test's own, to break."""
    with EmbeddedRedis() as server:
        server.start(tmp_path / "redis")
        yield server
        if server.pid is not None:
            os.kill(server.pid, signal.SIGCONT)


@pytest.fixture
def store(server: EmbeddedRedis, settings: Settings) -> Iterator[Store]:
    store = Store.connect(
        Settings.load(
            {"REDIS_URL": server.url, "QUEUE_NAMESPACE": settings.queue_namespace, "REDIS_TIMEOUT": "0.5"},
            env_file="",
        )
    )
    yield store
    store.close()


@pytest.fixture
def ticks(server: EmbeddedRedis, store: Store) -> Iterator[Ticks]:
    with redis.Redis.from_url(server.url) as client:
        yield Ticks(client, store)


def test_it_goes_on_when_redis_is_back(
    start: Start, server: EmbeddedRedis, ticks: Ticks, tmp_path: Path
) -> None:
    one = start(ticks.cron(30), REDIS_URL=server.url)
    wait_for("it runs", ticks.schedulers)
    server.stop()
    one.wait_told("redis.lost")
    server.start(tmp_path / "redis", server.port)
    one.wait_told("redis.back")
    mark = (ticks.minute - 30) * 60_000
    assert ticks.patch("tick.last", mark=mark - 3_600_000)
    wait_for("it fires", lambda: ticks.sent() == 1)
    assert one.stop()[0] == 0
    assert one.text.count('"redis.lost"') == one.text.count('"redis.back"') == 1


def test_it_starts_when_redis_appears(
    start: Start, server: EmbeddedRedis, ticks: Ticks, tmp_path: Path
) -> None:
    server.stop()
    one = start(ticks.cron(30), REDIS_URL=server.url)
    one.wait_told("redis.lost")
    server.start(tmp_path / "redis", server.port)
    wait_for("it runs", lambda: ticks.record("tick.all"))
    assert one.stop()[0] == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_soon_while_redis_stands_still(
    start: Start, server: EmbeddedRedis, ticks: Ticks, signum: int
) -> None:
    one = start(ticks.cron(30), REDIS_URL=server.url, REDIS_TIMEOUT="10")
    wait_for("it runs", ticks.schedulers)
    assert server.pid is not None
    freeze(server.pid)
    with socket.create_connection(("127.0.0.1", server.port)):
        code, seconds = one.stop(signum)
    assert (code, seconds < SOON) == (0, True), one.text


def test_it_ends_soon_while_redis_is_away(start: Start, server: EmbeddedRedis, ticks: Ticks) -> None:
    one = start(ticks.cron(30), REDIS_URL=server.url)
    wait_for("it runs", ticks.schedulers)
    server.stop()
    one.wait_told("redis.lost")
    code, seconds = one.stop()
    assert (code, seconds < SOON) == (0, True), one.text
    assert "Traceback" not in one.text

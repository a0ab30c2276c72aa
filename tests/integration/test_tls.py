"""Redis behind TLS, with a certificate that only we have heard of, as platforms give it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lockstep.errors import RedisUnavailable
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from middleware import make_broker
from tests.support.fleet import SCRIPTS, Fleet, Program
from tests.support.tls import Authority, TlsEndpoint
from tests.support.waiting import PATIENCE, wait_for


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def endpoint(settings: Settings) -> Iterator[Callable[..., TlsEndpoint]]:
    """Makes endpoints in front of the server of the tests."""
    made: list[TlsEndpoint] = []

    def make(authority: Authority, name: str = "localhost") -> TlsEndpoint:
        port = int((settings.redis_url or "").rpartition(":")[2].partition("/")[0])
        made.append(TlsEndpoint(port, authority.context(name)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def queues(settings: Settings, url: str, **changes: str) -> list[str]:
    """Ask Redis something."""
    own = {"REDIS_URL": url, "QUEUE_NAMESPACE": settings.queue_namespace, **changes}
    with closing(Store.connect(Settings.load(own, env_file=""))) as store:
        store.declare("messages")
        return list(store.queues())


def test_a_certificate_that_is_trusted(
    settings: Settings, ours: Authority, endpoint: Callable[..., TlsEndpoint]
) -> None:
    redis = endpoint(ours)

    assert queues(settings, redis.url, REDIS_CA_FILE=str(ours.file)) == ["messages"]
    assert redis.accepted == 1


@pytest.mark.parametrize("trusted", ["nobody we know", "somebody else", "another name"])
def test_one_that_is_not_is_refused_clearly(
    settings: Settings, ours: Authority, endpoint: Callable[..., TlsEndpoint], tmp_path: Path, trusted: str
) -> None:
    redis = endpoint(ours, "redis.example.com" if trusted == "another name" else "localhost")
    theirs = Authority(tmp_path, "theirs")
    file = {"nobody we know": "", "somebody else": str(theirs.file), "another name": str(ours.file)}[trusted]

    started = time.monotonic()
    with pytest.raises(RedisUnavailable) as refused:
        queues(settings, redis.url, REDIS_CA_FILE=file)

    assert "REDIS_CA_FILE" in str(refused.value)
    assert "REDIS_TLS_VERIFY" in str(refused.value)
    assert "certificate" in str(refused.value)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("how", ["setting", "url"])
def test_one_that_nobody_checks(
    settings: Settings, ours: Authority, endpoint: Callable[..., TlsEndpoint], how: str
) -> None:
    redis = endpoint(ours, "redis.example.com")
    changes = {"REDIS_TLS_VERIFY": "false"} if how == "setting" else {}

    assert queues(settings, redis.url + "?ssl_cert_reqs=none" * (how == "url"), **changes) == ["messages"]


def test_a_worker_works_over_tls(
    settings: Settings, ours: Authority, endpoint: Callable[..., TlsEndpoint], tmp_path: Path
) -> None:
    redis = endpoint(ours)
    own = {
        "REDIS_URL": redis.url,
        "REDIS_CA_FILE": str(ours.file),
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "ACTOR_MODULES": "tests.support.outcome_actors",
    }
    broker = make_broker(Settings.load(own, env_file=""))
    with closing(Fleet(tmp_path, **own)) as fleet, closing(broker):
        worker = fleet.start("worker")
        send(fleet, tmp_path)
        wait_for("it is done", lambda: broker.store.counts("messages").messages[MessageState.DONE])
        worker.process.terminate()
        assert worker.process.wait(PATIENCE) == 0, worker.text
    assert redis.accepted > 3


def send(fleet: Fleet, directory: Path) -> None:
    command = [str(SCRIPTS / "lockstep"), "send", "ends", "--kwargs", '{"group": "g"}']
    sender = Program(*command, directory=directory, environment=fleet.environment, name="send")
    assert sender.process.wait(PATIENCE) == 0, sender.text


def test_a_command_says_that_the_certificate_is_not_trusted(
    settings: Settings, ours: Authority, endpoint: Callable[..., TlsEndpoint], tmp_path: Path
) -> None:
    command = [str(SCRIPTS / "lockstep"), "status"]
    with_redis = {"REDIS_URL": endpoint(ours).url, "QUEUE_NAMESPACE": settings.queue_namespace}
    status = Program(*command, directory=tmp_path, environment=with_redis, name="status")

    assert status.process.wait(PATIENCE) == 4, status.text
    assert "REDIS_CA_FILE" in status.text

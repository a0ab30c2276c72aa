"""A worker starts with all of its guards, or not at all."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dramatiq
import pytest
from dramatiq import Middleware, Worker

import middleware.lifecycle
import middleware.rate_limits
import middleware.schema_guard
from lockstep.broker import LockstepBroker
from lockstep.ending import EXIT_BROKEN
from lockstep.errors import BootFailed
from lockstep.schema import SCHEMA
from lockstep.service import Service
from lockstep.settings import Settings
from middleware import make_broker
from middleware.async_actors import AsyncIO
from tests.support.fleet import inherited
from tests.support.refusing import RefusingProxy
from tests.support.waiting import LONG_COMMAND, PATIENCE, wait_for


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("broken")


BREAKS: list[Callable[[pytest.MonkeyPatch], None]] = [
    *(
        lambda patch, name=name: patch.setattr(middleware.lifecycle, name, _broken)
        for name in ("Interrupter", "Renewer", "Reaper", "ThreadWatch", "Reporter")
    ),
    lambda patch: patch.setattr(middleware.rate_limits, "declared_by", _broken),
    lambda patch: patch.setattr(middleware.rate_limits.RateLimits, "before_worker_boot", _broken),
    lambda patch: patch.setattr(middleware.schema_guard, "check_when_known", _broken),
    lambda patch: patch.setattr(AsyncIO, "before_worker_boot", _broken),
    lambda patch: patch.setattr(middleware.lifecycle.Lifecycle, "after_worker_boot", _broken),
    lambda patch: patch.setattr(Service, "start", _broken),  # can't start new thread
]


@pytest.mark.parametrize("number", range(len(BREAKS)))
def test_a_guard_that_fails_at_boot_lets_no_worker_start(
    broker: LockstepBroker, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dramatiq.actor
    def work() -> None:
        pass

    before = set(threading.enumerate())
    message = work.send()
    BREAKS[number](monkeypatch)
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    with pytest.raises(BootFailed, match="broken") as caught:
        worker.start()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not broker.may_claim
    wait_for("no thread is left", lambda: _own(set(threading.enumerate()) - before) == set())
    assert broker.store.message(message.message_id).state == "waiting"


def _own(threads: set[threading.Thread]) -> set[str]:
    """What guards start; threads of Dramatiq itself are daemons that end with their process."""
    return {one.name for one in threads} & {
        "renewer",
        "interrupter",
        "reaper",
        "thread-watch",
        "limits",
        "schema",
    }


def test_a_worker_of_another_program_that_is_too_old_does_not_end_it(broker: LockstepBroker) -> None:
    broker.store.schema.migrate(SCHEMA + 1, SCHEMA + 1)
    with pytest.raises(BootFailed, match="need a release of schema"):
        Worker(broker, worker_threads=1).start()


def test_a_boot_hook_of_somebody_else_that_fails_is_logged(
    broker: LockstepBroker,
    start: Callable[[], Worker],
    ended: Callable[[str], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Foreign(Middleware):
        before_worker_boot = after_worker_boot = _broken

    @dramatiq.actor
    def work() -> None:
        pass

    broker.add_middleware(Foreign())
    start()
    assert ended(work.send().message_id).state == "done"
    assert "middleware.failed" in caplog.text


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RefusingProxy]:
    proxy = RefusingProxy(urlsplit(redis_url).port or 0)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("reply", ["-NOPERM no", "-ERR Proxy error", "*-1", ":1", "*0", ""])
def test_a_worker_that_boots_while_redis_refuses_has_its_guards(
    settings: Settings, proxy: RefusingProxy, reply: str
) -> None:
    through = make_broker(dataclasses.replace(settings, redis_url=proxy.url, reap_seconds=0.2))
    dramatiq.set_broker(through)
    ran = threading.Event()

    @dramatiq.actor(rate_limit="5/1s")
    def work() -> None:
        ran.set()

    worker = Worker(through, worker_threads=1, worker_timeout=100)
    try:
        with proxy.refusing(reply):
            worker.start()
            names = {thread.name for thread in threading.enumerate()}
            assert names >= {"renewer", "interrupter", "reaper", "thread-watch", "limits", "schema"}
            assert not through.may_claim
        wait_for("it may claim", lambda: through.may_claim)
        assert "work" in {record.name for record in through.store.limits.all()}
        work.send()
        assert ran.wait(PATIENCE)
    finally:
        proxy.allow()
        worker.stop()
        through.close()


@pytest.mark.parametrize("broken", ["renewer", "process", "limits"])
def test_a_worker_process_whose_guard_fails_at_boot_exits_with_a_reason(
    redis_url: str, settings: Settings, tmp_path: Path, broken: str
) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "dramatiq", "actors", "-p", "1", "-t", "1", "--skip-logging"],
        env={
            **inherited(),
            "REDIS_URL": redis_url,
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "ACTOR_MODULES": "tests.support.broken_guards",
            "BROKEN_GUARD": broken,
            "LOG_FORMAT": "json",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONG_COMMAND,
        check=False,
    )
    assert worker.returncode == EXIT_BROKEN, worker.stderr
    assert "boot.failed" in worker.stderr + worker.stdout
    assert "it is broken" in worker.stderr + worker.stdout

"""A broker made without arguments, by class path, or with middleware of an application."""

import importlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import dramatiq
import periodiq
import pytest
from dramatiq import Worker
from dramatiq import middleware as theirs
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidSettings
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import GroupMutex, Lifecycle, Outcome, default

Make = Callable[..., LockstepBroker]


class Own(theirs.Middleware):
    """Middleware of an application, which may be there twice."""

    actor_options = {"own"}  # noqa: RUF012


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a broker by its class path, in the environment of the test."""
    assert settings.redis_url is not None
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("QUEUE_NAMESPACE", settings.queue_namespace)
    made: list[LockstepBroker] = []

    def make_one(**arguments: Any) -> LockstepBroker:
        broker_class = importlib.import_module("lockstep.broker").LockstepBroker
        made.append(broker_class(**arguments))
        return made[-1]

    yield make_one
    for broker in made:
        broker.close()


def kinds(broker: LockstepBroker) -> list[type]:
    return [type(one) for one in broker.middleware]


def runs(broker: LockstepBroker) -> None:
    """A message runs, is retried, and is done."""
    ran: list[int] = []

    @dramatiq.actor(broker=broker, backoff="fixed:10ms", group_by="{n}")
    def work(n: int) -> None:
        ran.append(n)
        if ran == [1]:
            raise ValueError("not yet")

    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        work.send(1)
        broker.join("default", timeout=300_000)
    finally:
        worker.stop()
    assert ran == [1, 1]
    assert broker.store.counts("default").messages[MessageState.DONE] == 1


def test_without_arguments_it_is_that_of_the_environment(make: Make, settings: Settings) -> None:
    broker = make()
    assert broker.settings.queue_namespace == settings.queue_namespace
    assert kinds(broker) == [type(one) for one in default(broker.settings, broker.store)]
    runs(broker)


def test_options_are_settings_that_win_over_the_environment(make: Make, settings: Settings) -> None:
    broker = make(queue_namespace="of-options", worker_concurrency=3, search_index=True)
    given = broker.settings
    assert (given.queue_namespace, given.worker_concurrency, given.search_index) == ("of-options", 3, True)
    assert given.redis_url == settings.redis_url
    with pytest.raises(TypeError, match="no_such, url; use redis_url for url"):
        make(no_such=1, url="redis://localhost")
    with pytest.raises(TypeError, match="host, port; use redis_host for host; use redis_port for port"):
        make(host="10.0.0.5", port=6379)  # as of Dramatiq's RedisBroker; the settings are of the web process
    with pytest.raises(TypeError, match=r"middleware=\[...\]"):
        make(settings=[Own()])  # the first parameter of StubBroker is its middleware
    with pytest.raises(InvalidSettings, match="LEASE_SECONDS"):
        make(lease_seconds="soon")
    with pytest.raises(TypeError, match="not both"):
        make(settings=settings, queue_namespace="x")


def test_options_may_be_values_of_python(make: Make, settings: Settings) -> None:
    """An application reads them from its own settings, where one that is not set is None."""
    assert make(**dict.fromkeys(own_settings(), None)).settings == make().settings
    given = make(worker_queues=["a", "b"], lease_seconds=7.5, data_dir=Path("x"), max_queue_length=0).settings
    assert (given.worker_queues, given.lease_seconds, given.data_dir) == (("a", "b"), 7.5, "x")
    assert make(backoff=settings.backoff).settings.backoff == settings.backoff
    for wrong in ({"a": 1}, timedelta(seconds=1), object(), [1]):
        with pytest.raises(TypeError, match=r"^app_env: expected"):
            make(app_env=wrong)


def own_settings() -> set[str]:
    return {setting.name for setting in fields(Settings)} - {"host", "port"}


def test_settings_that_are_wrong_are_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_SHARDS", "many")
    with pytest.raises(InvalidSettings, match="QUEUE_SHARDS"):
        make()


@pytest.mark.parametrize("given", [None, (), [Own(), Own()]])
def test_what_the_guarantees_need_is_there_whatever_is_given(make: Make, given: Any) -> None:
    broker = make(middleware=given)
    own = [type(one) for one in default(broker.settings, broker.store)]
    assert kinds(broker) == own + [Own] * len(given or ())
    runs(broker)


def test_the_middleware_of_an_application_takes_its_place(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    results = Results(backend=StubBackend())
    with caplog.at_level(logging.WARNING):
        broker = make(
            middleware=[
                theirs.AgeLimit(max_age=1_000_000),
                theirs.TimeLimit(time_limit=12_345, interval=50),
                theirs.Callbacks(),
                theirs.Retries(max_retries=1),
                results,
                Own(),
            ]
        )
    assert "middleware.left_out" in caplog.text
    own = [type(one) for one in default(broker.settings, broker.store)]
    assert kinds(broker) == [*own, Own]
    assert broker.get_results_backend() is results.backend
    (limit,) = [one for one in broker.middleware if isinstance(one, theirs.TimeLimit)]
    assert (limit.time_limit, limit.manager.interval) == (12_345, 0.05)
    (age,) = [one for one in broker.middleware if isinstance(one, theirs.AgeLimit)]
    assert age.max_age == 1_000_000
    assert "own" in broker.actor_options
    runs(broker)


def test_middleware_is_added_before_or_after_another(make: Make) -> None:
    broker = make()
    first, second, last = Own(), Own(), Own()
    broker.add_middleware(last)
    broker.add_middleware(first, before=GroupMutex)
    broker.add_middleware(second, after=GroupMutex)
    around = broker.middleware[broker.middleware.index(first) :]
    assert [type(one) for one in around[:3]] == [Own, GroupMutex, Own]
    assert around[0] is first
    assert around[2] is second
    assert broker.middleware[-1] is last
    before = list(broker.middleware)
    for new in (Own(), theirs.TimeLimit(), Results(backend=StubBackend())):
        with pytest.raises(ValueError, match="not found"):
            broker.add_middleware(new, before=theirs.Retries)
        assert broker.middleware == before  # what it would have replaced, too
    results = Results(backend=StubBackend())
    broker.add_middleware(results, before=Lifecycle)  # moved, not there twice
    assert broker.middleware[0] is results
    assert kinds(broker).count(Results) == 1
    assert kinds(broker).count(Outcome) == 1


def test_an_event_loop_that_is_added_again_leaves_none_behind(make: Make) -> None:
    broker = make()
    broker.add_middleware(theirs.AsyncIO())
    broker.add_middleware(theirs.CurrentMessage())
    ran: list[str] = []

    @dramatiq.actor(broker=broker)
    async def work() -> None:
        ran.append("async")

    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    loop = get_event_loop_thread()
    assert loop is not None
    work.send()
    broker.join("default", timeout=300_000)
    worker.stop()
    assert ran == ["async"]
    assert not loop.is_alive()
    assert get_event_loop_thread() is None


class OwnLimit(theirs.TimeLimit):
    """Derived by an application, with another default."""


class OwnLoop(theirs.AsyncIO):
    """Dramatiq's, which lets the next message of a group start while a coroutine still ends."""


class OwnCallbacks(theirs.Callbacks):
    """Sends as Dramatiq does."""

    def after_process_message(self, broker: Any, message: Any, **details: Any) -> None:
        super().after_process_message(broker, message, **details)  # type: ignore[no-untyped-call]


def test_a_derived_class_takes_the_place_of_its_base_or_is_refused(make: Make) -> None:
    broker = make(middleware=[OwnLimit(time_limit=3_600_000), periodiq.PeriodiqMiddleware(skip_delay=1)])
    limits = [one for one in broker.middleware if isinstance(one, theirs.TimeLimit)]
    assert [(type(one), one.time_limit) for one in limits] == [(OwnLimit, 3_600_000)]
    assert periodiq.PeriodiqMiddleware not in kinds(broker)  # it would drop what is late
    before = list(broker.middleware)
    for new, why in ((OwnLoop(), "event loop"), (OwnCallbacks(), "Callbacks")):
        with pytest.raises(ValueError, match=why):
            broker.add_middleware(new)
    assert broker.middleware == before
    runs(broker)

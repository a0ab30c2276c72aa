"""Whoever waits for a result is told at once how the message ended, for every way in which one ends."""

import dataclasses
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import dramatiq
import pytest
from dramatiq import Message, Worker
from dramatiq.middleware import Middleware, SkipMessage
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout

import lockstep
from lockstep import errorinfo, scripts
from lockstep.broker import LockstepBroker
from lockstep.deadletters import DeadFilter, Redrive
from lockstep.exchange import Exchange
from lockstep.records import Lease, NewMessage, Settlement
from lockstep.settings import Settings
from lockstep.states import Verb
from middleware import make_broker
from tests.support.waiting import wait_for

#: Milliseconds: a waiter that is not told waits so long that its test fails.
LONG: Final = 60_000

#: Seconds within which a waiter is told, on a machine that is busy.
AT_ONCE: Final = 20.0


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    broker = make_broker(dataclasses.replace(settings, lease_seconds=0.5, max_crashes=1))
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


class Waiter(threading.Thread):
    """Waits for a result in a thread of its own."""

    def __init__(self, message: "Message[Any]") -> None:
        super().__init__(daemon=True)
        self._message = message
        self.outcome: Any = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        self.outcome = outcome(self._message)

    def told(self) -> Any:
        """What it was told, at once."""
        self.join(AT_ONCE)
        assert not self.is_alive(), "it still waits"
        return self.outcome


def outcome(message: "Message[Any]", timeout: int = LONG) -> Any:
    """The result, or the class of the error and why it was raised."""
    started = time.monotonic()
    try:
        return message.get_result(block=True, timeout=timeout)
    except ResultFailure as failure:
        assert str(failure)
        return ResultFailure, failure.orig_exc_type
    except (ResultMissing, ResultTimeout) as error:
        return type(error)
    finally:
        assert time.monotonic() - started < AT_ONCE


class Scene:
    """One message in Redis, and what can be done to it without a worker."""

    def __init__(self, broker: LockstepBroker, message: "Message[Any]") -> None:
        self.broker, self.store, self.message = broker, broker.store, message
        self.id = message.message_id

    def claim(self) -> Lease:
        """Claim the message, as a worker that then does nothing."""
        (shard,) = self.store.shards("default")
        self.exchange = Exchange(self.store.new_link(), shard, self.store.settings, "nobody")
        answer = self.exchange.request([], Counter(), 1, -1)
        assert answer.claim is not None
        return answer.claim.leases[0]

    def settle(self, verb: Verb, *, cancel: bool = False, **details: Any) -> None:
        lease = self.claim()
        if cancel:
            self.store.switches.cancel(self.id)
        settlement = Settlement(lease.ref, lease.token, lease.id, verb, **details)
        self.exchange.request([settlement], Counter(), 0, -1)
        self.exchange.disconnect()

    def reap(self, *, cancel: bool = False) -> None:
        """Its worker dies."""
        self.claim()
        if cancel:
            self.store.switches.cancel(self.id)
        (shard,) = self.store.shards("default")

        def reaped() -> bool:
            found = self.store.reap(shard)
            return self.id in [*found.dead, *found.cancelled]

        wait_for("the lease was reclaimed", reaped)

    def purge(self, group: str | None = None) -> None:
        assert sum(self.store.purges.purge("default", group)) >= 1


END: Final[dict[str, tuple[str, Callable[[Scene], Any], Any]]] = {
    "returns": ("settle", lambda s: s.settle(Verb.COMPLETE, result=b"7", result_ttl_ms=60_000), 7),
    "returns nothing": ("settle", lambda s: s.settle(Verb.COMPLETE, result=b"null", result_ttl_ms=60_000), None),
    "is done without a result": ("settle", lambda s: s.settle(Verb.COMPLETE), ResultMissing),
    "its result has expired": (
        "settle",
        lambda s: (s.settle(Verb.COMPLETE, result=b"7", result_ttl_ms=1), time.sleep(0.05)),
        (7, ResultMissing),
    ),
    "dies of an error": (
        "settle",
        lambda s: s.settle(
            Verb.DEAD_LETTER, reason="attempts_exhausted", error=errorinfo.encode(ValueError("no"))
        ),
        (ResultFailure, "ValueError"),
    ),
    "dies with its error as the result": (
        "settle",
        lambda s: s.settle(
            Verb.DEAD_LETTER,
            reason="throws",
            result=b'{"__t":"dramatiq.results.Result","exn":{"type":"KeyError","msg":"x"}}',
            result_ttl_ms=60_000,
        ),
        (ResultFailure, "KeyError"),
    ),
    "dies of no error": (
        "settle",
        lambda s: s.settle(Verb.DEAD_LETTER, reason="max_age"),
        (ResultFailure, "max_age"),
    ),
    "is cancelled while it runs": ("settle", lambda s: s.settle(Verb.CANCEL), (ResultFailure, "cancelled")),
    "is released after it was cancelled": (
        "settle",
        lambda s: s.settle(Verb.RELEASE, cancel=True),
        (ResultFailure, "cancelled"),
    ),
    "fails after it was cancelled": (
        "settle",
        lambda s: s.settle(Verb.RETRY, delay_ms=60_000, cancel=True),
        (ResultFailure, "cancelled"),
    ),
    "dies after it was cancelled": (
        "settle",
        lambda s: s.settle(Verb.DEAD_LETTER, reason="throws", cancel=True),
        (ResultFailure, "cancelled"),
    ),
    "is reclaimed for the last time": ("reap", lambda s: s.reap(), (ResultFailure, "worker_lost")),
    "is reclaimed after it was cancelled": (
        "reap",
        lambda s: s.reap(cancel=True),
        (ResultFailure, "cancelled"),
    ),
    "is cancelled while it waits": (
        "cancel",
        lambda s: s.store.switches.cancel(s.id),
        (ResultFailure, "cancelled"),
    ),
    "is cancelled in its backoff": (
        "cancel",
        lambda s: (s.settle(Verb.RETRY, delay_ms=60_000), s.store.switches.cancel(s.id)),
        (ResultFailure, "cancelled"),
    ),
    "is purged": ("purge", lambda s: s.purge(), (ResultFailure, "purged")),
    "is purged with its group": ("purge", lambda s: s.purge("g"), (ResultFailure, "purged")),
    "is skipped": ("skip", lambda s: s.store.dead.skip("default", "g"), (ResultFailure, "skipped")),
    "is dead and discarded": (
        "discard",
        lambda s: (s.store.dead.skip("default", "g"), s.store.dead.discard([s.id])),
        ((ResultFailure, "skipped"), (ResultFailure, "discarded")),
    ),
    "its record is dropped": (
        "cleanup",
        lambda s: (s.settle(Verb.COMPLETE), s.store.retention.cleanup(age_ms=0)),
        (ResultMissing, ResultTimeout),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", END)
def test_a_waiter_is_told_at_once_how_a_message_ends(broker: LockstepBroker, how: str) -> None:
    """Also one that begins to wait afterwards. Where the record is gone since, the two are told different things."""

    @dramatiq.actor(store_results=True)
    def work() -> None: ...

    _, end, expected = END[how]
    while_it_waits, afterwards = expected if _differ(expected) else (expected, expected)
    message = work.send_with_options(group="g")
    waiter = Waiter(message)
    end(Scene(broker, message))
    assert waiter.told() in (while_it_waits, afterwards)
    assert outcome(message, 300 if afterwards is ResultTimeout else LONG) == afterwards
    if afterwards is not ResultTimeout and isinstance(afterwards, tuple):
        with pytest.raises(ResultFailure):
            message.get_result()


def _differ(expected: Any) -> bool:
    return isinstance(expected, tuple) and expected[0] is not ResultFailure


@pytest.mark.parametrize("end", ["cancel", "purge"])
def test_a_scheduled_one_ends_before_it_is_due(broker: LockstepBroker, end: str) -> None:
    @dramatiq.actor(store_results=True)
    def work() -> None: ...

    message = work.send_with_options(delay=3_600_000)
    waiter, scene = Waiter(message), Scene(broker, message)
    scene.purge() if end == "purge" else broker.store.switches.cancel(message.message_id)
    assert waiter.told() == outcome(message) == (ResultFailure, "purged" if end == "purge" else "cancelled")


def test_no_script_ends_a_message_unseen() -> None:
    """Every script whose contract has an end of a message is in the table."""
    ending = set()
    for name in scripts.names():
        text = (Path(lockstep.__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        (states,) = re.findall(r"^-- States:(.*(?:\n--          .*)*)", text, re.MULTILINE)
        of_messages = states.partition("group")[0]
        if re.search(r"->[^;]*(done|dead|cancelled|\(none\))", of_messages):
            ending.add(name)
    ending.remove("restore")  # a dead letter of a backup was dead before: the message had no state here
    assert ending == {script for script, _, _ in END.values()}


def test_an_imported_dead_letter_is_told(broker: LockstepBroker) -> None:
    @dramatiq.actor(store_results=True)
    def work() -> None: ...

    message = work.send_with_options(group="g")
    broker.store.dead.skip("default", "g")
    lines = list(broker.store.export().lines())
    broker.store.dead.discard([message.message_id])
    assert outcome(message) == (ResultFailure, "discarded")
    assert broker.store.importer().read(lines).restored == 1
    assert outcome(message) == (ResultFailure, "skipped")


def test_through_a_worker(broker: LockstepBroker) -> None:
    """What only a worker does to messages: it cannot decode one, does not know its actor, or refuses to run it."""

    class Refusing(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            if message.args:
                message.fail()
                raise SkipMessage("not today")

    broker.settings = broker.store.settings = dataclasses.replace(broker.settings, unknown_actor_seconds=0)
    broker.add_middleware(Refusing())

    @dramatiq.actor(store_results=True, max_age=10, max_attempts=1)
    def old() -> None: ...

    @dramatiq.actor(store_results=True)
    def refused(_: int) -> None: ...

    @dramatiq.actor(max_attempts=1)
    def plain(*, fails: bool) -> None:
        if fails:
            raise ValueError("no")

    @dramatiq.actor(store_results=True, actor_name="unknown")
    def unknown() -> None: ...

    expected = {
        "old": (old.send(), (ResultFailure, "SkipMessage")),
        "refused": (refused.send(1), (ResultFailure, "SkipMessage")),
        "plain fails": (plain.send(fails=True), (ResultFailure, "ValueError")),
        "plain": (plain.send(fails=False), ResultMissing),
        "unknown": (unknown.send(), (ResultFailure, "unknown_actor")),
        "undecodable": (plain.message(fails=True), (ResultFailure, "JSONDecodeError")),
    }
    broken = expected["undecodable"][0].message_id
    broker.store.enqueue("default", [NewMessage(id=broken, actor="plain", payload=b"\xff{", group=None)])
    del broker.actors["unknown"]
    time.sleep(0.05)
    waiters = {name: Waiter(message) for name, (message, _) in expected.items()}
    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    told = {name: waiter.told() for name, waiter in waiters.items()}
    worker.stop()
    assert told == {name: one for name, (_, one) in expected.items()}
    assert {name: outcome(message) for name, (message, _) in expected.items()} == told


def test_a_redriven_one_is_waited_for_again(broker: LockstepBroker) -> None:
    @dramatiq.actor(store_results=True)
    def work() -> None: ...

    message = work.send_with_options(group="g")
    scene = Scene(broker, message)
    scene.settle(Verb.DEAD_LETTER, reason="throws", result=b"1", result_ttl_ms=60_000)
    broker.store.dead.redrive(DeadFilter(), Redrive())
    with pytest.raises(ResultTimeout):
        message.get_result(block=True, timeout=100)
    waiter = Waiter(message)
    scene.settle(Verb.COMPLETE, result=b"2", result_ttl_ms=60_000)
    assert waiter.told() == outcome(message) == 2


def test_one_that_has_not_ended_or_was_never_sent_times_out(broker: LockstepBroker) -> None:
    @dramatiq.actor(store_results=True)
    def work() -> None: ...

    for message in (work.send(), work.message(), work.send_with_options(delay=60_000)):
        started = time.monotonic()
        with pytest.raises(ResultTimeout):
            message.get_result(block=True, timeout=300)
        assert time.monotonic() - started >= 0.3
        with pytest.raises(ResultMissing):
            message.get_result()


def test_ids_of_purged_messages_are_remembered_up_to_a_limit(broker: LockstepBroker) -> None:
    @dramatiq.actor
    def work() -> None: ...

    messages = [work.message() for _ in range(1000)]
    broker.enqueue_many(messages)
    Scene(broker, messages[0]).purge()
    key = broker.store.shards("default")[0].prefix + "removed"
    assert broker.store.command("ZCARD", key) == 1000
    assert 0 < broker.store.command("PTTL", key) <= 600_000
    assert {outcome(message) for message in messages[::250]} == {(ResultFailure, "purged")}


@pytest.mark.parametrize("how", [how for how, (_, _, told) in END.items() if isinstance(told, tuple)])
def test_a_waiter_for_the_last_step_of_a_pipeline_is_told_how_the_first_ended(
    broker: LockstepBroker, how: str
) -> None:
    """The last step is never sent then. When the record of the first is gone, nothing is known."""

    @dramatiq.actor(store_results=True)
    def work(*results: Any) -> None: ...

    _, end, expected = END[how]
    steps = [
        work.message_with_options(group="g"),
        work.message(),
        work.message_with_options(message_id="own"),
    ]
    last = dramatiq.pipeline(steps).run().messages[-1]
    waiter = None if _differ(expected) else Waiter(last)
    end(Scene(broker, dramatiq.pipeline(steps).messages[0]))
    if waiter is None:
        assert outcome(last, 300) in (ResultTimeout, expected[-1])
    else:
        assert waiter.told() == outcome(last) == expected


def told_of(broker: LockstepBroker, pipelines: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Run the pipelines, the first of each pair; answers what those who wait for their last steps are told."""
    for pipe, _ in pipelines.values():
        pipe.run()
    waiters = {name: Waiter(pipe.messages[-1]) for name, (pipe, _) in pipelines.items()}
    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        return {name: waiter.told() for name, waiter in waiters.items()}
    finally:
        worker.stop()


def test_a_waiter_for_a_pipeline_is_told_at_whatever_step_it_ends(broker: LockstepBroker) -> None:
    @dramatiq.actor(store_results=True, max_attempts=1)
    def stored(n: int, *, fails: bool = False) -> int:
        if fails:
            raise ValueError("no")
        return n + 1

    @dramatiq.actor(max_attempts=1, queue_name="other", group_by="{n}")
    def plain(n: int, *, fails: bool = False) -> int:
        if fails:
            raise KeyError("no")
        return n + 1

    @dramatiq.actor
    def nothing() -> None: ...

    pipelines: dict[str, tuple[Any, Any]] = {
        "none": (stored.message(1) | plain.message() | stored.message(), 4),
        "first": (
            stored.message(1, fails=True) | plain.message() | stored.message(),
            (ResultFailure, "ValueError"),
        ),
        "middle": (
            stored.message(1) | plain.message(fails=True) | stored.message(),
            (ResultFailure, "KeyError"),
        ),
        "refused": (
            stored.message(1) | nothing.message() | stored.message(),
            (ResultFailure, "InvalidMessage"),
        ),
        "last": (stored.message(1) | stored.message(fails=True), (ResultFailure, "ValueError")),
    }
    assert told_of(broker, pipelines) == {name: expected for name, (_, expected) in pipelines.items()}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_waiter_for_a_step_that_is_left_out_is_told(settings: Settings, shards: int) -> None:
    class Skipping(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            if "skip" in message.args:
                raise SkipMessage("not needed")

    broker = make_broker(dataclasses.replace(settings, queue_shards=shards))
    broker.add_middleware(Skipping())
    dramatiq.set_broker(broker)

    @dramatiq.actor(store_results=True)
    def work(*args: str) -> str:
        return args[-1]

    unique = {"unique": "10m"}
    pipelines: dict[str, tuple[Any, Any]] = {
        "all": (work.message("a") | work.message() | work.message(), "a"),
        "first": (work.message("skip") | work.message() | work.message(), ResultMissing),
        "middle": (work.message("a") | work.message("skip") | work.message(), ResultMissing),
        "unique": (work.message_with_options(args=("u",), **unique) | work.message(), "u"),
        "repeat": (work.message_with_options(args=("u",), **unique) | work.message(), ResultMissing),
    }
    told = told_of(broker, pipelines)
    broker.close()
    assert told == {name: expected for name, (_, expected) in pipelines.items()}


def test_a_waiter_waits_for_a_step_that_is_owed(
    broker: LockstepBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step before is done, and its process has not enqueued the next one yet."""

    @dramatiq.actor(store_results=True)
    def work(*args: str) -> str:
        return args[-1]

    owed: list[Any] = []
    monkeypatch.setattr(broker, "deliver", lambda *entries: owed.append(entries))
    pipe = (work.message("a") | work.message()).run()
    waiter = Waiter(pipe.messages[-1])
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    wait_for("the next step is owed", lambda: owed)
    with pytest.raises(ResultTimeout):
        pipe.get_result(block=True, timeout=200)
    monkeypatch.undo()
    broker.deliver(*owed[0])
    assert waiter.told() == "a"
    worker.stop()


def test_a_step_without_an_id_is_sent(broker: LockstepBroker) -> None:
    @dramatiq.actor
    def work() -> None: ...

    target = {name: value for name, value in work.message().asdict().items() if name != "message_id"}
    message = work.send_with_options(pipe_target=target)
    assert broker.store.message(message.message_id) is not None

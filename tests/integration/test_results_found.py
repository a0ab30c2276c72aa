"""Results are found however a message was sent, and in whatever shard it is."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Message, Worker, group, pipeline
from dramatiq.results import ResultFailure

from lockstep.broker import LockstepBroker
from lockstep.settings import Settings
from middleware import make_broker

NAMES = [f"customer-{n}" for n in range(6)]  # of several shards


@pytest.fixture(params=[1, 4])
def broker(settings: Settings, request: pytest.FixtureRequest) -> Iterator[LockstepBroker]:
    broker = make_broker(dataclasses.replace(settings, queue_shards=request.param))
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


@pytest.fixture
def elsewhere(broker: LockstepBroker) -> Iterator[LockstepBroker]:
    """A process that has neither sent the messages nor their actors."""
    other = make_broker(broker.settings)
    yield other
    other.close()


@pytest.fixture
def work(broker: LockstepBroker) -> Any:
    @dramatiq.actor(store_results=True, group_by="{name}")
    def echo(name: str, n: int = 0) -> str:
        return f"{name} {n}"

    return echo


def enqueue(work: Any, **options: Any) -> list["Message[Any]"]:
    """Messages as their caller holds them: what ``enqueue`` makes of them is thrown away."""
    messages = [work.message_with_options(args=(name,), **options) for name in NAMES]
    for message in messages:
        work.broker.enqueue(message)
    return messages


def submit(work: Any) -> list["Message[Any]"]:
    messages = [work.message(name) for name in NAMES]
    for message in messages:
        work.broker.submit(message)
    return messages


def many(work: Any, **options: Any) -> list["Message[Any]"]:
    messages = [work.message_with_options(args=(name,)) for name in NAMES]
    work.broker.enqueue_many(messages, **options)
    return messages


def grouped(work: Any, **options: Any) -> list["Message[Any]"]:
    children = [work.message_with_options(args=(name,), **options) for name in NAMES]
    return list(group(children).run().children)


def repeated(work: Any, **options: Any) -> list["Message[Any]"]:
    """The second of two messages under the same key, or unique by the same; its own id is never stored."""
    for name in NAMES:
        work.send_with_options(args=(name,), **_named(options, name))
    messages = [work.message_with_options(args=(name,), **_named(options, name)) for name in NAMES]
    for message in messages:
        work.broker.enqueue(message)
    return messages


def _named(options: dict[str, str], name: str) -> dict[str, str]:
    return {key: value.replace("NAME", name) for key, value in options.items()}


WAYS: dict[str, Callable[[Any], list["Message[Any]"]]] = {
    "send": lambda work: [work.send(name) for name in NAMES],
    "send by keyword": lambda work: [work.send(name=name) for name in NAMES],
    "send to a group": lambda work: [work.send_with_options(args=(name,), group="vip") for name in NAMES],
    "send with an id": lambda work: [
        work.send_with_options(args=(name,), message_id=f"own-{name}") for name in NAMES
    ],
    "send with a delay": lambda work: [work.send_with_options(args=(name,), delay=1) for name in NAMES],
    "enqueue": enqueue,
    "enqueue with an id": lambda work: [
        work.broker.enqueue(work.message_with_options(args=(name,), message_id=f"own2-{name}"))
        and work.message_with_options(args=(name,), message_id=f"own2-{name}")
        for name in NAMES
    ],
    "enqueue a unique one": lambda work: enqueue(work, unique="until_finished"),
    "submit": submit,
    "enqueue many": many,
    "enqueue many under a key": lambda work: many(work, idempotency_key="k") and many(work, idempotency_key="k"),
    "a copy that is sent": lambda work: [
        work.broker.enqueue(work.message(name).copy(options={"group": "vip"})) for name in NAMES
    ],
    "a copy of what was sent": lambda work: [work.send(name).copy() for name in NAMES],
    "a copy of what was enqueued": lambda work: [message.copy() for message in enqueue(work)],
    "only the id": lambda work: [
        work.message("").copy(message_id=work.send(name).message_id) for name in NAMES
    ],
    "a group": grouped,
    "a group with keys": lambda work: grouped(work, group="vip", priority=1),
    "a group of actors with ids": lambda work: list(
        group([work.message_with_options(args=(name,), message_id=f"id {name}") for name in NAMES]).run().children
    ),
    "a pipeline": lambda work: [
        pipeline([work.message(name, 1), work.message_with_options(args=(name,), pipe_ignore=True)])
        .run()
        .messages[-1]
        for name in NAMES
    ],
    "a repeat under a key": lambda work: repeated(work, idempotency_key="key NAME"),
    "one that another keeps out": lambda work: repeated(work, unique="until_finished"),
    "one that another keeps out for a period": lambda work: repeated(work, unique="3600s"),
}  # fmt: skip


def test_results_are_found_however_a_message_was_sent(
    broker: LockstepBroker, work: Any, elsewhere: LockstepBroker
) -> None:
    # A group of their own for each way, or what is unique for one would keep out the others.
    sent = {}
    for number, (way, send) in enumerate(WAYS.items()):
        broker.actors["echo"].options["group_by"] = f"{number} {{name}}"
        sent[way] = send(work)
    worker = Worker(broker, worker_threads=4, worker_timeout=100)
    worker.start()
    found = {way: results(messages) for way, messages in sent.items()}
    worker.stop()
    expected = {way: [f"{name} 0" for name in NAMES] for way in WAYS}
    assert found == expected
    backend = elsewhere.get_results_backend()
    in_memory_only = {"one that another keeps out", "one that another keeps out for a period"}
    for way in WAYS.keys() - in_memory_only - {"enqueue many under a key"}:
        assert results(sent[way], backend) == expected[way], way


def results(messages: list["Message[Any]"], backend: Any = None) -> list[Any]:
    return [message.get_result(backend=backend, block=True, timeout=300_000) for message in messages]


def test_the_results_of_a_group_and_a_pipeline_are_found_together(broker: LockstepBroker, work: Any) -> None:
    whole = group([work.message(name) for name in NAMES]).run()
    steps = pipeline(
        [work.message("a"), work.message_with_options(args=("b",), pipe_ignore=True, message_id="last")]
    ).run()
    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    assert list(whole.get_results(block=True, timeout=300_000)) == [f"{name} 0" for name in NAMES]
    assert list(steps.get_results(block=True, timeout=300_000)) == ["a 0", "b 0"]
    worker.stop()
    assert whole.completed and steps.completed


def test_an_end_is_found_however_a_message_was_sent(broker: LockstepBroker, work: Any) -> None:
    """The caller's own messages do not name their groups."""
    messages = enqueue(work)
    for message in messages[:3]:
        broker.store.switches.cancel(message.message_id)
    assert sum(broker.store.purges.purge("default")) == 3
    told = []
    for message in messages:
        with pytest.raises(ResultFailure) as failure:
            message.get_result(block=True, timeout=300_000)
        told.append(failure.value.orig_exc_type)
    assert told == ["cancelled"] * 3 + ["purged"] * 3


def test_an_id_that_was_a_repeat_once_is_found_when_it_is_sent_itself(
    broker: LockstepBroker, work: Any
) -> None:
    work.send_with_options(args=("first",), unique="until_finished", unique_by="x", group="g")
    kept_out = work.message_with_options(
        args=("second",), unique="until_finished", unique_by="x", group="g", message_id="own"
    )
    assert broker.enqueue(kept_out).message_id != "own"
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    assert kept_out.get_result(block=True, timeout=300_000) == "first 0"
    sent = work.message_with_options(args=("third",), message_id="own-2")
    broker.store.results.note_repeat("own-2", "nosuch")
    broker.enqueue(sent)
    assert sent.get_result(block=True, timeout=300_000) == "third 0"
    worker.stop()


def test_repeats_are_remembered_up_to_a_limit(broker: LockstepBroker) -> None:
    results = broker.store.results
    for n in range(10_001):
        results.note_repeat(f"repeat {n}", f"first {n}")
    assert (results.first_of("repeat 0"), results.first_of("repeat 10000")) == (None, "first 10000")

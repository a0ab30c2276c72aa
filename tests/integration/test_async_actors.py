"""Async actors that need time to end: the next message of their group starts only then."""

import asyncio
import contextlib
import dataclasses
import gc
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage, Shutdown, TimeLimit, TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from lockstep.broker import LockstepBroker
from lockstep.errors import Cancelled, LeaseLost
from lockstep.parsing import Backoff
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from middleware.async_actors import ActorLoop
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    quick = dataclasses.replace(
        settings, backoff=Backoff.parse("fixed:50ms"), reap_seconds=0.2, lease_seconds=1.0, cancel_grace=0.1
    )
    broker = make_broker(quick)
    dramatiq.set_broker(broker)
    for middleware in broker.middleware:
        if isinstance(middleware, TimeLimit):
            middleware.after_process_boot(broker)  # starts its thread, as in a worker process
    yield broker
    broker.close()


class Gate:
    """What the cleanup of a coroutine waits for, and what happened."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.open = False

    async def passed(self) -> None:
        while not self.open:
            await asyncio.sleep(0.005)

    def wait(self) -> None:
        while not self.open:
            time.sleep(0.005)


@pytest.fixture
def gate(start: Start) -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open = True


async def cleans_up(gate: Gate) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await gate.passed()
        raise


async def cleans_up_in_finally(gate: Gate) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await gate.passed()


async def goes_on(gate: Gate) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await gate.passed()


async def shields(gate: Gate) -> None:
    await asyncio.shield(gate.passed())


async def shields_in_a_child(gate: Gate) -> None:
    await asyncio.create_task(shields(gate))


async def gathers(gate: Gate) -> None:
    async def fails() -> None:
        raise ValueError("one of two")

    await asyncio.gather(cleans_up(gate), fails())


async def waits_with_a_timeout(gate: Gate) -> None:
    await asyncio.wait([asyncio.create_task(cleans_up(gate))], timeout=0.01)
    raise ValueError("not yet")


async def hands_to_a_thread(gate: Gate) -> None:
    await asyncio.to_thread(gate.wait)


async def hands_to_an_executor_of_its_own(gate: Gate) -> None:
    executor = ThreadPoolExecutor(1)
    try:
        await asyncio.get_running_loop().run_in_executor(executor, gate.wait)
    finally:
        executor.shutdown(wait=False)


async def replaces_the_default_executor(gate: Gate) -> None:
    loop: Any = asyncio.get_running_loop()
    default = loop._default_executor
    loop.set_default_executor(ThreadPoolExecutor(1))
    try:
        await asyncio.to_thread(gate.wait)
    finally:
        loop._default_executor.shutdown(wait=False)
        loop.set_default_executor(default)


async def waits_late_for_a_task_that_shields(gate: Gate) -> None:
    task = asyncio.create_task(shields(gate))
    await asyncio.sleep(0.01)
    await task


async def waits_late_for_a_task_that_hands_to_a_thread(gate: Gate) -> None:
    task = asyncio.create_task(hands_to_a_thread(gate))
    await asyncio.sleep(0.01)
    await task


async def runs_a_group(gate: Gate) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(cleans_up(gate))


async def waits_for(gate: Gate) -> None:
    await asyncio.wait_for(cleans_up(gate), timeout=300)


@pytest.mark.parametrize(
    "work",
    [
        cleans_up,
        cleans_up_in_finally,
        goes_on,
        shields,
        shields_in_a_child,
        gathers,
        waits_with_a_timeout,
        hands_to_a_thread,
        hands_to_an_executor_of_its_own,
        replaces_the_default_executor,
        waits_late_for_a_task_that_shields,
        waits_late_for_a_task_that_hands_to_a_thread,
        runs_a_group,
        waits_for,
    ],
    ids=lambda work: work.__name__,
)
def test_the_next_message_starts_when_the_coroutine_has_really_ended(
    broker: LockstepBroker, start: Start, ended: Ended, gate: Gate, work: Callable[[Gate], Awaitable[None]]
) -> None:
    @dramatiq.actor(group_by="{g}", max_attempts=1, time_limit=100)
    async def actor(g: str, n: int) -> None:
        gate.events.append(f"start {n}")
        if n == 1:
            await work(gate)

    @dramatiq.actor
    async def other() -> None:
        pass

    first, second = actor.send(g="g", n=1), actor.send(g="g", n=2)
    start()
    wait_for("it runs", lambda: gate.events)
    (claimed,) = broker.held.all()
    lease_end = claimed.deadline
    wait_for("its lease is renewed twice", lambda: claimed.deadline > lease_end + 1.0)
    assert ended(other.send().message_id).state is MessageState.DONE
    assert gate.events == ["start 1"]
    assert not claimed.lost
    gate.open = True
    assert ended(second.message_id).state is MessageState.DONE
    assert ended(first.message_id).state is MessageState.DEAD
    assert [attempt.outcome for attempt in ended(first.message_id).attempts] == ["dead"]


@pytest.mark.parametrize("how", [TimeLimitExceeded, Cancelled, Shutdown, LeaseLost])
def test_every_interrupt_waits_for_the_end_and_a_second_one_cancels_again(
    broker: LockstepBroker, start: Start, gate: Gate, how: type[BaseException]
) -> None:
    cancels: list[int] = []

    @dramatiq.actor(group="g")
    async def actor(n: int) -> None:
        gate.events.append(f"start {n}")
        while n == 1 and not gate.open:
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                cancels.append(n)
        gate.events.append(f"end {n}")

    first = actor.send(1)
    actor.send(2)
    start()
    wait_for("it runs", lambda: gate.events)
    (claimed,) = broker.held.all()
    thread = claimed._thread
    assert thread is not None
    for times in (1, 2, 3):
        raise_thread_exception(thread, how)
        wait_for("it is cancelled", lambda times=times: len(cancels) == times)
    assert gate.events == ["start 1"]
    assert claimed.in_actor
    gate.open = True
    wait_for("the second has ended", lambda: "end 2" in gate.events)
    assert gate.events.index("end 1") < gate.events.index("start 2")
    assert first.message_id == claimed.message_id


def test_a_cancelled_message_ends_when_its_coroutine_has(
    broker: LockstepBroker, start: Start, ended: Ended, gate: Gate
) -> None:
    @dramatiq.actor(group="g")
    async def actor(n: int) -> None:
        gate.events.append(f"start {n}")
        if n == 1:
            await cleans_up(gate)

    first, second = actor.send(1), actor.send(2)
    start()
    wait_for("it runs", lambda: gate.events)
    (claimed,) = broker.held.all()
    broker.store.switches.cancel(first.message_id)
    wait_for("it is interrupted", lambda: claimed.cancel_interrupted)
    lease_end = claimed.deadline
    wait_for("its lease is renewed twice", lambda: claimed.deadline > lease_end + 1.0)
    assert gate.events == ["start 1"]
    gate.open = True
    assert ended(first.message_id).state is MessageState.CANCELLED
    assert ended(second.message_id).state is MessageState.DONE


@pytest.mark.parametrize(
    ("handled", "state"),
    [(False, MessageState.DEAD), (True, MessageState.DONE)],
    ids=["swallows", "uncancels"],
)
def test_a_coroutine_that_goes_on_has_been_interrupted_unless_it_says_that_it_dealt_with_it(
    start: Start, ended: Ended, handled: bool, state: MessageState
) -> None:
    @dramatiq.actor(max_attempts=1, time_limit=50)
    async def actor() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if handled and task is not None:
                task.uncancel()

    message = actor.send()
    start()
    record = ended(message.message_id)
    assert record.state is state
    if state is MessageState.DEAD:
        assert record.attempts[0].error is not None
        assert record.attempts[0].error["type"] == "TimeLimitExceeded"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("where", ["coroutine", "child", "stop"])
def test_no_actor_ends_the_event_loop_of_the_others(
    start: Start, ended: Ended, gate: Gate, error: BaseException, where: str
) -> None:
    async def fails() -> None:
        raise error

    @dramatiq.actor
    async def waits() -> str:
        gate.events.append("start")
        await gate.passed()
        return "done"

    @dramatiq.actor(max_attempts=1)
    async def breaks() -> None:
        if where == "stop":
            asyncio.get_running_loop().stop()
        elif where == "child":
            gate.events.append(repr(asyncio.create_task(fails())))
            await asyncio.sleep(0.05)
        else:
            await fails()

    waiting = waits.send()
    start()
    wait_for("it runs", lambda: gate.events)
    expected = MessageState.DEAD if where == "coroutine" else MessageState.DONE
    assert ended(breaks.send().message_id).state is expected
    gate.open = True
    assert ended(waiting.message_id).state is MessageState.DONE


def test_a_task_that_nobody_waits_for_outlives_its_message(start: Start, ended: Ended, gate: Gate) -> None:
    @dramatiq.actor(group="g")
    async def actor(n: int) -> None:
        if n == 1:
            gate.background = asyncio.create_task(gate.passed())  # type: ignore[attr-defined]
            gate.background.add_done_callback(lambda task: gate.events.append("background"))  # type: ignore[attr-defined]

    sent = [actor.send(n) for n in (1, 2)]
    start()
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE
    assert gate.events == []
    gate.open = True
    wait_for("it ends by itself", lambda: gate.events)


def test_a_coroutine_knows_its_message_and_its_result_is_kept(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    seen: list[Any] = []

    @dramatiq.actor(store_results=True)
    async def actor() -> int:
        seen.append(CurrentMessage.get_current_message())
        return await asyncio.to_thread(lambda: 41) + 1

    message = actor.send()
    start()
    assert ended(message.message_id).state is MessageState.DONE
    assert message.get_result() == 42
    assert [one.message_id for one in seen] == [message.message_id]


def test_a_failed_coroutine_leaves_nothing_in_memory() -> None:
    class Canary:
        pass

    loop = ActorLoop(dramatiq.get_logger(__name__), lambda: None)
    loop.start()
    seen: list[weakref.ref[Canary]] = []

    async def fails() -> None:
        canary = Canary()
        seen.append(weakref.ref(canary))
        raise ValueError("x")

    gc.disable()
    try:
        with pytest.raises(ValueError, match="x"):
            loop.run_coroutine(fails())
        wait_for("it is gone", lambda: seen[0]() is None)
    finally:
        gc.enable()
        loop.stop()
    assert not loop.is_alive()
    assert loop.loop.is_closed()


def test_an_event_loop_that_dies_is_noticed_and_ends_its_runs() -> None:
    dead: list[bool] = []
    loop = ActorLoop(dramatiq.get_logger(__name__), lambda: dead.append(True))
    loop.start()

    async def breaks() -> None:
        def fail() -> None:
            raise OSError("the selector is gone")

        asyncio.get_running_loop()._run_once = fail  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    with pytest.raises(RuntimeError, match="event loop has ended"):
        loop.run_coroutine(breaks())
    wait_for("it is noticed", lambda: dead)
    with pytest.raises(RuntimeError, match="not running"):
        loop.run_coroutine(asyncio.sleep(0))

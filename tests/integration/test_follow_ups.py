"""Who may send while the intake is off: a process that runs a message, from any of its threads."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage

from lockstep.broker import LockstepBroker
from lockstep.claimed import ClaimedMessage
from lockstep.errors import IntakeOff, LeaseLost
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


def in_its_own_thread(send: Callable[[], Any]) -> Any:
    return send()


def in_a_pool(send: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(send).result()


def in_a_new_thread(send: Callable[[], Any]) -> Any:
    sent: Future[Any] = Future()

    def run() -> None:
        try:
            sent.set_result(send())
        except Exception as error:
            sent.set_exception(error)

    threading.Thread(target=run).start()
    return sent.result()


async def in_a_coroutine(send: Callable[[], Any]) -> Any:
    return send()


async def in_a_thread_of_a_coroutine(send: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(send)


async def in_an_executor(send: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, send)


async def in_a_task(send: Callable[[], Any]) -> Any:
    return await asyncio.create_task(asyncio.to_thread(send))


WAYS: list[Any] = [
    *(in_its_own_thread, in_a_pool, in_a_new_thread),
    *(in_a_coroutine, in_a_thread_of_a_coroutine, in_an_executor, in_a_task),
]


@pytest.fixture
def follow_up(broker: LockstepBroker) -> Any:
    @dramatiq.actor(queue_name="follow", actor_name="follow")
    def follow() -> None: ...

    broker.store.declare("follow")
    broker.store.pause("follow")
    return follow


def waiting(broker: LockstepBroker) -> int:
    return broker.store.counts("follow").messages[MessageState.WAITING]


def test_while_a_message_runs_every_thread_may_send(
    broker: LockstepBroker, follow_up: Any, start: Start, ended: Ended
) -> None:
    actors = []
    for way in WAYS:

        def work(way: str) -> None:
            in_what(way)(follow_up.send)

        async def work_async(way: str) -> None:
            await in_what(way)(follow_up.send)

        fn = work_async if asyncio.iscoroutinefunction(way) else work
        actors.append(dramatiq.actor(fn, actor_name=way.__name__, max_attempts=1))
    sent = [actor.send(actor.actor_name) for actor in actors]
    broker.store.intake.switch(accept=False, why="night")
    with pytest.raises(IntakeOff):
        follow_up.send()
    start()
    for message in sent:
        record = ended(message.message_id)
        assert record.state is MessageState.DONE, (record.actor, record.attempts)
    assert waiting(broker) == len(WAYS)
    for way in (in_its_own_thread, in_a_pool, in_a_new_thread):  # no message runs any more
        with pytest.raises(IntakeOff):
            way(follow_up.send)
    assert waiting(broker) == len(WAYS)


def in_what(name: str) -> Any:
    return next(way for way in WAYS if way.__name__ == name)


def test_what_an_ended_actor_left_behind_is_refused_like_any_other(
    broker: LockstepBroker, follow_up: Any, start: Start, ended: Ended
) -> None:
    """Also in a copy of its context."""
    may_send, refused = threading.Event(), list[BaseException]()

    def late() -> None:
        may_send.wait(PATIENCE)
        try:
            follow_up.send()
        except Exception as error:
            refused.append(error)

    @dramatiq.actor
    async def work() -> None:
        tasks.append(asyncio.create_task(asyncio.to_thread(late)))
        await asyncio.sleep(0)

    tasks: list[Any] = []
    message = work.send()
    start()
    assert ended(message.message_id).state is MessageState.DONE
    wait_for("nothing runs", lambda: not broker.running)
    broker.store.intake.switch(accept=False, why="night")
    may_send.set()
    wait_for("it has tried", lambda: refused)
    assert [type(error) for error in refused] == [IntakeOff]
    assert waiting(broker) == 0


def test_who_lost_the_lease_sends_nothing(
    broker: LockstepBroker, follow_up: Any, start: Start, ended: Ended
) -> None:
    raised: dict[str, type[BaseException]] = {}

    def attempt(name: str) -> None:
        try:
            follow_up.send()
        except BaseException as error:
            raised[name] = type(error)

    @dramatiq.actor(group="g", max_attempts=1)
    async def work() -> None:
        current = CurrentMessage.get_current_message()
        assert isinstance(current, ClaimedMessage)
        broker.held.remove(current)  # nobody renews it, nobody interrupts
        current.deadline = 0.0
        attempt("its own")
        await asyncio.to_thread(attempt, "its context")
        await asyncio.get_running_loop().run_in_executor(None, attempt, "its pool")

    work.send()
    broker.store.intake.switch(accept=False, why="night")
    start()
    wait_for("it has tried", lambda: "its pool" in raised)
    assert raised == {"its own": LeaseLost, "its context": LeaseLost, "its pool": IntakeOff}
    assert waiting(broker) == 0

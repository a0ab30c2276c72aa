"""What a child that an actor forks knows of the lease of its parent."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage

from lockstep import signals
from lockstep.broker import LockstepBroker
from lockstep.errors import LeaseLost
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    broker = make_broker(dataclasses.replace(settings, lease_seconds=1.0, reap_seconds=0.1))
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


class Child:
    """A forked child that runs ``work`` when it is told to, and ends with what that returns."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._read, self._write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.read(self._read, 1)
            code = 99
            try:
                code = work()
            finally:
                os._exit(code)

    def code(self) -> int:
        os.write(self._write, b"x")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_child_sends_while_its_parent_holds_the_lease_and_not_when_it_is_lost(
    broker: LockstepBroker, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[Child] = []
    go = threading.Event()

    @dramatiq.actor
    def told() -> None:
        pass

    def sends() -> int:
        try:
            told.send()
        except LeaseLost:
            return 1
        return 0

    def follows_up() -> int:
        return int(not broker._check_follow_up())

    @dramatiq.actor
    def work() -> None:
        message: Any = CurrentMessage.get_current_message()
        if not children:
            works = (sends, follows_up, sends, lambda: int(message.holds()))
            children.extend([Child(work) for work in works])
            go.wait()

    message = work.send()
    start()
    try:
        wait_for("it has forked", lambda: len(children) == 4)
        (claimed,) = broker.held.all()
        lease_end = claimed.deadline
        wait_for("a lease has passed", lambda: time.monotonic() > lease_end + 0.2)
        assert [child.code() for child in children[:2]] == [0, 0]
        lost = type(claimed).renew_until
        monkeypatch.setattr(
            type(claimed), "renew_until", lambda one, _: lost(one, 0.0)
        )  # also to the renewer
        claimed.renew_until(0.0)  # as after the reply LOST
        assert [child.code() for child in children[2:]] == [1, 0]
    finally:
        go.set()
    assert ended(message.message_id).state is MessageState.DONE


def test_a_child_that_outlives_its_actor_sends_as_any_program(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    children: list[Child] = []

    @dramatiq.actor
    def told() -> None:
        pass

    def sends() -> int:
        if broker._check_follow_up():
            return 1
        told.send()
        return 0

    @dramatiq.actor
    def work() -> None:
        children.append(Child(sends))

    message = work.send()
    start()
    assert ended(message.message_id).state is MessageState.DONE
    assert children[0].code() == 0


def test_an_async_actor_whose_forked_child_exits_is_not_run_on_by_the_child(
    start: Start, ended: Ended
) -> None:
    codes: list[int] = []

    @dramatiq.actor
    async def work() -> None:
        pid = os.fork()
        if pid == 0:
            raise SystemExit(5)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    message = work.send()
    start()
    assert ended(message.message_id).state is MessageState.DONE
    assert codes == [5]


def test_handlers_of_a_process_are_not_those_of_its_children_and_handlers_of_others_are() -> None:
    def of_others(signum: int, frame: Any) -> None:
        pass

    former = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    try:
        signal.signal(signal.SIGTERM, signals.unheard)
        signal.signal(signal.SIGINT, signals.unheard)
        signal.signal(signal.SIGHUP, of_others)
        child = Child(
            lambda: int(
                signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
                and signal.getsignal(signal.SIGINT) is signal.default_int_handler
                and signal.getsignal(signal.SIGHUP) is of_others
                and not signal.pthread_sigmask(signal.SIG_BLOCK, [])
            )
        )
        assert child.code() == 1
        assert signal.getsignal(signal.SIGTERM) is signals.unheard
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)

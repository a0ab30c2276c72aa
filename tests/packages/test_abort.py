"""dramatiq-abort: a message is aborted while it waits and while it runs."""

import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import dramatiq_abort
import redis
from dramatiq import Worker
from dramatiq_abort.backends import RedisBackend

from lockstep.broker import LockstepBroker
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


def test_running_and_waiting_messages_are_aborted(
    broker: LockstepBroker, start: Start, ended: Ended, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        broker.add_middleware(dramatiq_abort.Abortable(backend=RedisBackend(client=client)))
        started, ran = threading.Event(), []

        @dramatiq.actor(max_attempts=1, group="g", abortable=True, throws=dramatiq_abort.Abort)
        def work(n: int) -> None:
            ran.append(n)
            started.set()
            while n == 0:
                time.sleep(0.01)

        sent: list[Any] = [work.send(number) for number in range(3)]
        start()
        assert started.wait(PATIENCE)
        dramatiq_abort.abort(sent[1].message_id)
        dramatiq_abort.abort(sent[0].message_id)
        assert ended(sent[2].message_id).state is MessageState.DONE
        assert ran == [0, 2]
        assert broker.store.message(sent[0].message_id).state is MessageState.DEAD
        wait_for(
            "its end is known",
            lambda: broker.store.message(sent[1].message_id).state is not MessageState.RUNNING,
        )

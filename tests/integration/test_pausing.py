"""Paused queues and groups, with a real worker; the example of the manual."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.errors import NotFound
from lockstep.records import MessageRecord
from lockstep.states import GroupState
from tests.support.manual import run_example
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


@pytest.fixture
def ran() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def work(broker: LockstepBroker, ran: list[tuple[str, int]]) -> Any:
    @dramatiq.actor(group_by="{g}")
    def work(g: str, n: int) -> None:
        ran.append((g, n))
        time.sleep(0.02)

    return work


def test_a_paused_group_waits_while_others_go_on(
    broker: LockstepBroker, work: Any, ran: list[tuple[str, int]], start: Start, ended: Ended
) -> None:
    sent = [work.send(g=g, n=n) for n in range(10) for g in ("a", "b")]
    start()
    wait_for("it has begun", lambda: ran.count(("a", 1)))
    assert broker.store.pause("default", "a")
    assert ended(sent[-1].message_id)  # of b
    wait_for("nothing of a runs", lambda: broker.store.counts("default").groups[GroupState.PAUSED] == 1)
    before = len(ran)
    sent.append(work.send(g="a", n=10))
    time.sleep(0.3)
    assert len(ran) == before
    assert ("a", 9) not in ran
    assert broker.store.resume("default", "a")
    assert ended(sent[-1].message_id)
    assert [n for g, n in ran if g == "a"] == list(range(11))


def test_a_paused_queue_stands_still_until_it_is_resumed(
    broker: LockstepBroker, work: Any, ran: list[tuple[str, int]], start: Start, ended: Ended
) -> None:
    broker.store.declare("default")
    assert broker.store.pause("default")
    sent = [work.send(g=g, n=n) for n in range(3) for g in ("a", "b")]
    start()
    time.sleep(0.5)
    assert ran == []
    assert broker.store.counts("default").paused
    assert broker.store.resume("default")
    for message in sent:
        assert ended(message.message_id)
    assert [n for g, n in ran if g == "a"] == [0, 1, 2]


def test_an_unknown_queue_is_not_found(broker: LockstepBroker) -> None:
    with pytest.raises(NotFound):
        broker.store.pause("nosuch")
    with pytest.raises(NotFound):
        broker.store.resume("nosuch", "g")


def test_the_example_of_the_manual(broker: LockstepBroker) -> None:
    @dramatiq.actor(queue_name="messages", group="shop:c1")
    def deliver() -> None:
        pass

    deliver.send()
    page = Path("docs/pausing.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```\n(paused now.*?)```", page, re.DOTALL)
    assert run_example(code, broker.settings) == (shown, "")

"""Promote, retry, purge and the groups of a queue, through the store; the examples of the manual."""

import dataclasses
import re
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.draining import holding_up, left_of
from lockstep.errors import InvalidMessage, NotFound, WrongState
from lockstep.groups import GroupRecord
from lockstep.parsing import Backoff
from lockstep.records import MessageRecord, NewMessage
from lockstep.settings import Settings
from lockstep.states import GroupState, MessageState
from lockstep.store import Store
from tests.support.manual import run_example
from tests.support.waiting import PATIENCE, wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]
HOUR = 3_600_000


def new(id_: str, group: str | None = None, **options: Any) -> NewMessage:
    return NewMessage(id=id_, actor="act", payload=b"p", group=group, **options)


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def sharded(settings: Settings, request: pytest.FixtureRequest) -> Store:
    return Store.connect(dataclasses.replace(settings, queue_shards=request.param))


def every_group(store: Store, state: GroupState | None, limit: int) -> list[GroupRecord]:
    found: list[GroupRecord] = []
    cursor = None
    while True:
        page = store.groups.page("q", state, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_a_scheduled_message_runs_at_once_when_it_is_promoted(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(group="g")
    def work() -> None:
        pass

    sent = work.send_with_options(delay=HOUR)
    start()
    promoted = broker.store.switches.promote(sent.message_id)
    assert (promoted.state, promoted.changed) == (MessageState.WAITING, True)
    assert ended(sent.message_id).state is MessageState.DONE
    with pytest.raises(WrongState) as refused:
        broker.store.switches.promote(sent.message_id)
    assert (refused.value.state, refused.value.asked) == ("done", "promote")


def test_a_message_in_back_off_is_retried_at_once_at_its_place(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    ran: list[int] = []

    @dramatiq.actor(group="g", backoff=Backoff.parse("fixed:1h"))
    def work(n: int) -> None:
        ran.append(n)
        if ran == [0]:
            raise ValueError("not yet")

    first, second = work.send(0), work.send(1)
    start()
    wait_for("it backs off", lambda: broker.store.message(first.message_id).state is MessageState.BACKOFF)
    assert broker.store.switches.retry(first.message_id).changed
    assert ended(second.message_id).state is MessageState.DONE
    assert ran == [0, 0, 1]


def test_a_dead_letter_is_retried(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    fails = threading.Event()
    fails.set()

    @dramatiq.actor(group="g", max_attempts=1)
    def work() -> None:
        if fails.is_set():
            raise ValueError("broken")

    sent = work.send()
    start()
    assert ended(sent.message_id).state is MessageState.DEAD
    fails.clear()
    retried = broker.store.switches.retry(sent.message_id, "head")
    assert (retried.state, retried.changed) == (MessageState.WAITING, True)
    wait_for("it is done", lambda: broker.store.message(sent.message_id).state is MessageState.DONE)


def test_what_cannot_be_retried(store: Store) -> None:
    store.enqueue("q", [new("1", delay_ms=HOUR), new("2", "a"), new("3", "a")])
    store.switches.cancel("3")
    for id_, state in (("1", "scheduled"), ("3", "cancelled")):
        with pytest.raises(WrongState) as refused:
            store.switches.retry(id_)
        assert refused.value.state == state
    assert not store.switches.retry("2").changed
    with pytest.raises(NotFound):
        store.switches.retry("nosuch")


def test_a_queue_is_purged_whatever_is_in_it(sharded: Store) -> None:
    groups = [f"g{n}" for n in range(40)]
    sharded.enqueue("q", [new(f"{g}-{n}", g) for n in range(30) for g in groups])
    sharded.enqueue("q", [new(f"d-{n}", "late", delay_ms=HOUR) for n in range(700)])
    sharded.enqueue("q", [new(f"m-{n}") for n in range(300)])
    sharded.pause("q", "g0")
    sharded.switches.promote("d-0")
    batches = list(sharded.purges.purge("q"))
    assert sum(batches) == 40 * 30 + 700 + 300
    assert max(batches) <= 500
    counts = sharded.counts("q")
    assert all(number == 0 for number in counts.messages.values())
    assert all(number == 0 for number in counts.groups.values())
    assert counts.stats["cancelled|act"] == 40 * 30 + 700 + 300
    assert list(filter(None, sharded.purges.purge("q"))) == []


def test_one_group_is_purged_and_the_others_stay(sharded: Store) -> None:
    sharded.enqueue("q", [new(f"a{n}", "a") for n in range(1200)])
    sharded.enqueue("q", [new("a-late", "a", delay_ms=HOUR), new("b-late", "b", delay_ms=HOUR)])
    sharded.enqueue("q", [new(f"s{n}", "a", extra={"slots": 2, "group": "a"}) for n in range(5)])
    sharded.enqueue("q", [new("b1", "b"), new("m1"), new("o1", "o", extra={"slots": 2, "group": "o"})])
    with pytest.raises(InvalidMessage):
        next(iter(sharded.purges.purge("q", "")), None)  # no group, but not all of them either
    assert sum(sharded.purges.purge("q", "a")) == 1206
    assert sharded.counts("q").messages[MessageState.WAITING] == 3
    assert sharded.message("b-late").state is MessageState.SCHEDULED
    with pytest.raises(NotFound):
        sharded.groups.show("q", "a")


def test_a_purge_that_ends_early_leaves_the_rest_in_order(store: Store) -> None:
    store.enqueue("q", [new(f"{n:04}", "a") for n in range(1200)])
    purge = store.purges.purge("q", "a")
    while not next(purge):
        pass
    purge.close()
    record = store.groups.show("q", "a")
    assert (record.state, record.depth, record.head) == (GroupState.READY, 700, "0000")
    assert store.message("0501").position == 1


def test_nothing_is_purged_that_was_sent_since(store: Store) -> None:
    store.enqueue("q", [new(f"{n}", "a") for n in range(10)])
    purge = store.purges.purge("q")
    purged = next(purge)  # of those that are scheduled; from here on it is dated
    dated = time.time()
    wait_for("the clock goes on", lambda: time.time() > dated + 0.002)
    store.enqueue("q", [new("last", "a")])
    assert purged + sum(purge) == 10
    assert store.groups.show("q", "a").head == "last"


def test_groups_that_wait_for_a_limit_are_listed_and_purged(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(group_by="{g}", rate_limit="1/1h")
    def work(g: str) -> None:
        pass

    sent = [work.send(g=f"g{n}") for n in range(5)]
    start()
    states = lambda: [broker.store.message(one.message_id).state for one in sent]  # noqa: E731
    wait_for("one is done", lambda: MessageState.DONE in states())
    wait_for("four wait", lambda: broker.store.counts("default").groups[GroupState.BLOCKED] == 4)
    blocked = broker.store.groups.page("default", GroupState.BLOCKED).items
    assert [(one.why, one.limit) for one in blocked] == [("limit", "work")] * 4
    assert sum(broker.store.purges.purge("default")) == 4
    assert broker.store.counts("default").groups[GroupState.BLOCKED] == 0


def test_groups_come_in_pages(sharded: Store) -> None:
    sharded.enqueue("q", [new(f"{g}{n}", f"g{g}") for g in range(25) for n in range(2)])
    sharded.enqueue(
        "q", [new(f"h{g}", f"h{g}", delay_ms=HOUR, extra={"hold_place": True}) for g in range(25)]
    )
    for g in range(5):
        sharded.pause("q", f"g{g}")
    for limit in (1, 7, 200):
        assert {one.group for one in every_group(sharded, GroupState.READY, limit)} == {
            f"g{g}" for g in range(5, 25)
        }
        blocked = every_group(sharded, GroupState.BLOCKED, limit)
        assert sorted(one.group or "" for one in blocked) == sorted(f"h{g}" for g in range(25))
        assert all((one.why, one.depth) == ("hold_place", 1) for one in blocked)
        paused = every_group(sharded, GroupState.PAUSED, limit)
        assert sorted(one.group or "" for one in paused) == [f"g{g}" for g in range(5)]
        everything = every_group(sharded, None, limit)
        assert len(everything) == len({one.group for one in everything}) == 50


def test_a_leased_group_names_its_holder(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    running, go = threading.Event(), threading.Event()

    @dramatiq.actor(group="a/b")
    def work() -> None:
        running.set()
        go.wait(PATIENCE)

    sent = [work.send(), work.send()]
    start()
    assert running.wait(PATIENCE)
    record = broker.store.groups.show("default", "a/b")
    assert (record.state, record.depth, record.head) == (GroupState.LEASED, 2, sent[0].message_id)
    assert record.holder == broker.owner
    assert record.fence
    assert record.lease_ends_ms
    (listed,) = broker.store.groups.page("default", GroupState.LEASED).items
    assert listed.group == "a/b"
    go.set()
    ended(sent[1].message_id)
    with pytest.raises(NotFound):
        broker.store.groups.show("default", "a/b")


@pytest.mark.parametrize("cursor", ["x", "1.2.3", "1.2.3.4.5", "-1.0.0.0", "0.0.0.²"])
def test_a_cursor_that_is_none(store: Store, cursor: str) -> None:
    store.enqueue("q", [new("1")])
    with pytest.raises(InvalidMessage) as refused:
        store.groups.page("q", cursor=cursor)
    assert refused.value.field == "/cursor"


def test_an_unknown_queue(store: Store) -> None:
    with pytest.raises(NotFound):
        store.groups.page("nosuch")
    with pytest.raises(NotFound):
        store.groups.show("nosuch", "g")
    with pytest.raises(NotFound):
        list(store.purges.purge("nosuch"))


def test_the_example_of_the_manual(broker: LockstepBroker) -> None:
    @dramatiq.actor(queue_name="messages", group="shop:c1")
    def deliver() -> None:
        pass

    for number in (16, 17):
        deliver.send_with_options(message_id=f"order-{number}")
    deliver.send_with_options(message_id="order-18", delay=HOUR)
    page = Path("docs/operating.md").read_text()
    code = re.findall(r"^```python\n(.*?)```", page, re.DOTALL | re.MULTILINE)[0]
    (shown,) = re.findall(r"^```\n(cancelled: .*?)```", page, re.DOTALL | re.MULTILINE)
    assert run_example(code, broker.settings) == (shown, "")


def test_the_actor_of_the_manual_ends_early(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    page = Path("docs/operating.md").read_text()
    (code,) = [
        textwrap.dedent(found)
        for found in re.findall(r"^  ```python\n(.*?)^  ```", page, re.DOTALL | re.MULTILINE)
    ]
    names: dict[str, Any] = {}
    exec(code, names)
    sent = names["export"].send(customer="c1")
    start()
    wait_for("it runs", lambda: broker.store.message(sent.message_id).state is MessageState.RUNNING)
    broker.store.switches.cancel(sent.message_id)
    assert ended(sent.message_id).state is MessageState.CANCELLED


def test_what_will_never_drain_by_itself_is_named(broker: LockstepBroker, start: Start, ended: Ended) -> None:
    @dramatiq.actor(group_by="{g}", max_attempts=1, on_dead="block")
    def work(g: str) -> None:
        if g == "dead":
            raise ValueError

    dead, _ = work.send(g="dead"), work.send(g="dead")
    alone = work.send_with_options(kwargs={"g": "dead"}, group="alone")
    broker.store.pause("default", "still")
    work.send(g="still")
    start()
    for message in (dead, alone):
        assert ended(message.message_id).state is MessageState.DEAD
    counts = broker.store.counts("default")
    left = left_of(dataclasses.replace(counts, claimers={}, paused=True), broker.store.groups)
    assert (left.messages, left.total) == ({MessageState.WAITING: 2}, 2)
    assert left.hindrances == (
        "the queue is paused",
        "no worker claims from it",
        f"group 'dead' waits for an operator, because of the dead letter {dead.message_id!r}",
        "group 'still' is paused",
    )
    assert [one.group for one in holding_up(broker.store.groups, "default", 2)] == ["dead", "still"]

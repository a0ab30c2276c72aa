"""Lists of messages: each filter, each place, pages that leave nothing out, and cursors that are none."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lockstep.errors import InvalidMessage, NotFound
from lockstep.keys import ShardKeys
from lockstep.listing import Listed, Wanted
from lockstep.records import NewMessage, Settlement
from lockstep.settings import Settings
from lockstep.states import MessageState as S
from lockstep.states import Verb
from lockstep.store import Store
from tests.scripts.shard import Shard, settlement, text
from tests.support.manual import run_example

ERROR = json.dumps({"type": "TimeoutError", "message": "slow", "traceback": ""}).encode()


@pytest.fixture
def shard(redis_url: str, settings: Settings) -> Iterator[Shard]:
    client = redis.Redis.from_url(redis_url, protocol=2)
    yield Shard(client, ShardKeys(settings.queue_namespace, "q", 0))
    client.close()


def new(id_: str, group: str | None = None, **options: object) -> NewMessage:
    return NewMessage(id=id_, actor=str(options.pop("actor", "act")), payload=b"p", group=group, **options)  # type: ignore[arg-type]


def everything(store: Store, wanted: Wanted, limit: int) -> list[Listed]:
    """All pages, and that none is longer than asked for."""
    found: list[Listed] = []
    cursor = None
    while True:
        page = store.listing.page(wanted, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def end(shard: Shard, verb: Verb, **options: object) -> str:
    lease = shard.lease()
    one: Settlement = settlement(lease, verb, **options)
    assert shard.settle(one, keep=1000) == [1]
    return lease.id


@pytest.fixture
def busy(store: Store, shard: Shard) -> dict[S, list[str]]:
    """One message or more in each state; of the group g, unless said otherwise."""
    store.enqueue("q", [new("done", "g"), new("dead", "g"), new("cancelled", "g"), new("retried", "g")])
    end(shard, Verb.COMPLETE)
    end(shard, Verb.DEAD_LETTER, reason="failed", error=ERROR)
    end(shard, Verb.CANCEL)
    end(shard, Verb.RETRY, delay_ms=3_600_000, error=ERROR)
    store.enqueue("q", [new("running", "r"), new("behind", "r")])
    assert shard.lease().id == "running"
    store.enqueue("q", [new("later", "g", delay_ms=3_600_000), new("w1", "g"), new("w2", "g")])
    store.enqueue("q", [new("alone", actor="other")])
    return {
        S.DONE: ["done"],
        S.DEAD: ["dead"],
        S.CANCELLED: ["cancelled"],
        S.BACKOFF: ["retried"],
        S.RUNNING: ["running"],
        S.SCHEDULED: ["later"],
        S.WAITING: ["alone", "behind", "w1", "w2"],
    }


@pytest.mark.parametrize("limit", [1, 2, 200])
def test_each_state_lists_its_own(store: Store, busy: dict[S, list[str]], limit: int) -> None:
    for state, ids in busy.items():
        found = everything(store, Wanted(state=state), limit)
        assert sorted(one.id for one in found) == ids
        assert {one.state for one in found} == {state}
    found = everything(store, Wanted(), limit)
    assert sorted(one.id for one in found) == sorted(id_ for ids in busy.values() for id_ in ids)


@pytest.mark.parametrize("limit", [1, 200])
def test_a_group_lists_everything_of_it_once(store: Store, busy: dict[S, list[str]], limit: int) -> None:
    found = [one.id for one in everything(store, Wanted(group="g"), limit)]
    assert found == ["retried", "w1", "w2", "later", "done", "dead", "cancelled"]
    assert [one.id for one in everything(store, Wanted(group="g", state=S.WAITING), limit)] == ["w1", "w2"]
    assert [one.id for one in everything(store, Wanted(group="r", state=S.RUNNING), limit)] == ["running"]
    assert everything(store, Wanted(group="nobody"), limit) == []


def test_filters_by_actor_error_id_and_queue(store: Store, busy: dict[S, list[str]]) -> None:
    store.enqueue("p", [new("elsewhere")])
    assert [one.id for one in everything(store, Wanted(actor="other"), 50)] == ["alone"]
    assert sorted(one.id for one in everything(store, Wanted(error="TimeoutError"), 50)) == [
        "dead",
        "retried",
    ]
    assert everything(store, Wanted(error="Timeout"), 50) == []
    assert [one.id for one in everything(store, Wanted(id="w2"), 50)] == ["w2"]
    assert everything(store, Wanted(id="w2", state=S.DONE), 50) == []
    assert [one.queue for one in everything(store, Wanted(queue="p"), 50)] == ["p"]
    with pytest.raises(NotFound):
        store.listing.page(Wanted(queue="none"))


def test_an_item_says_what_the_message_is(store: Store, shard: Shard, busy: dict[S, list[str]]) -> None:
    (one,) = store.listing.page(Wanted(id="retried")).items
    assert one == Listed(
        id="retried", queue="q", state=S.BACKOFF, actor="act", group="g", sequence=4,
        enqueued_ms=one.enqueued_ms, due_ms=one.due_ms, failures=1, crashes=0, error="TimeoutError", payload=b"",
    )  # fmt: skip
    assert shard.near() == one.enqueued_ms
    assert one.due_ms is not None
    assert shard.near(3_600_000) == one.due_ms


def test_messages_of_a_group_that_run_together_are_found_by_it(store: Store) -> None:
    store.enqueue("q", [new(f"s{i}", "many", extra={"slots": 2, "group": "many"}) for i in range(3)])
    store.enqueue("q", [new("another")])
    found = everything(store, Wanted(group="many"), 2)
    assert sorted(one.id for one in found) == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted(state=S.WAITING), Wanted(group="g"), Wanted(state=S.SCHEDULED)]
)
def test_pages_of_many_leave_nothing_out(store: Store, wanted: Wanted) -> None:
    delay = 3_600_000 if wanted.state is S.SCHEDULED else 0  # all due in the same millisecond
    ids = [f"m{number:04}" for number in range(1000)]
    store.enqueue("q", [new(id_, "g", delay_ms=delay) for id_ in ids])
    assert sorted(one.id for one in everything(store, wanted, 170)) == ids


def test_work_of_a_page_is_bounded_and_the_next_ones_go_on(store: Store) -> None:
    for first in range(0, 9000, 1000):
        store.enqueue("q", [new(f"m{first + number}") for number in range(1000)])
    store.enqueue("q", [new("rare", actor="rare")])
    pages, cursor = [], None
    while True:
        page = store.listing.page(Wanted(actor="rare"), cursor=cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(pages) > 1
    assert [one.id for items in pages for one in items] == ["rare"]


def test_a_page_goes_on_when_its_last_message_has_gone(store: Store, shard: Shard) -> None:
    store.enqueue("q", [new(f"m{number}", "g") for number in range(6)])
    wanted = Wanted(group="g", state=S.WAITING)
    page = store.listing.page(wanted, limit=2)
    assert [one.id for one in page.items] == ["m0", "m1"]
    end(shard, Verb.COMPLETE)
    end(shard, Verb.COMPLETE)
    found = store.listing.page(wanted, cursor=page.next_cursor, limit=9)
    assert [one.id for one in found.items] == ["m2", "m3", "m4", "m5"]


def cursor_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("cursor", "state"),
    [
        ("", None),
        ("!", None),
        ("é", None),
        (cursor_of(), None),
        (cursor_of("q", 0, "messages"), None),
        (cursor_of("q", "0", "messages", []), None),
        (cursor_of("q", 0, "messages", 5), None),
        (cursor_of("q", 0, "dead", []), None),
        (cursor_of("q", 0, "messages", ["x", ""]), None),
        (cursor_of("q", 0, "messages", [str(2**64), ""]), None),
        (cursor_of("q", 0, "messages", [1]), None),
        (cursor_of("q", 0, "messages", {"a": 1}), None),
        (cursor_of("q", 0, "dead", ["nan", 0]), S.DEAD),
        (cursor_of("q", 0, "dead", ["x", 0]), S.DEAD),
        (cursor_of("q", 0, "dead", ["1", -1]), S.DEAD),
        (cursor_of("q", 0, "done", [-3]), S.DONE),
        (cursor_of("q", 0, "done", [2**70]), S.DONE),
        (cursor_of("q", 0, "done", [True]), S.DONE),
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(
    store: Store, busy: dict[S, list[str]], cursor: str, state: S | None
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        store.listing.page(Wanted(state=state), cursor=cursor)
    assert refused.value.field == "/cursor"


def test_a_damaged_row_is_listed_and_one_that_is_lost_is_not(store: Store, shard: Shard) -> None:
    store.enqueue("q", [new("a", "g"), new("b", "g"), new("c", "g")])
    shard.redis.hset(shard.key("messages"), "a", b"\xc1")
    shard.redis.hdel(shard.key("messages"), "b")
    assert [one.id for one in everything(store, Wanted(state=S.WAITING), 50)] in (["a", "c"], ["c", "a"])
    assert text("c") in [one.id for one in everything(store, Wanted(group="g"), 50)]


def test_the_example_of_the_manual(store: Store, settings: Settings) -> None:
    store.enqueue("messages", [new(f"m{number}", "shop:c1") for number in (1, 2, 3)])
    page = Path("docs/records.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    shown = re.findall(r"```\n(\['m1'.*?)```", page, re.DOTALL)[0]
    assert run_example(code, settings) == (shown, "")

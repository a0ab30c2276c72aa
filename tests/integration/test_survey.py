"""Many groups, searched by real reapers: what HTTP, metrics and the store tell of the deepest and the oldest."""

import re

import pytest

from lockstep import survey
from lockstep.keys import shard_of
from lockstep.reaper import Reaper
from lockstep.records import NewMessage
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.survey import GroupOrder
from tests.support.waiting import wait_for


def new(id_: str, group: str | None) -> NewMessage:
    return NewMessage(id=id_, actor="act", payload=b"p", group=group)


@pytest.fixture
def sharded(settings: Settings) -> Store:
    store = Store(Settings(**{**settings.__dict__, "queue_shards": 2}))
    yield store
    store.close()


def test_over_two_shards(sharded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "GAP_MS", 0)
    store = sharded
    store.enqueue("q", [new("first", "old")])
    store.enqueue("q", [new(f"{n}", f"g{n}") for n in range(900)])
    store.enqueue("q", [new(f"deep{n}", "g700") for n in range(5)] + [new("alone", None)])
    assert {shard_of(f"g{n}", "", 2) for n in range(900)} == {0, 1}

    reaper = Reaper(store, store.queues)

    def found() -> bool:
        reaper.run_once()
        ranking = store.survey.ranking("q")
        return bool(ranking.deepest) and ranking.deepest[0].group == "g700"

    wait_for("the search found the deepest group", found)
    ranking = store.survey.ranking("q", 100)
    assert not ranking.exact
    assert (ranking.deepest[0].depth, len(ranking.deepest)) == (6, 100)
    wait_for("and the oldest", lambda: reaper.run_once() and oldest(store) == "old")
    records, exact = store.groups.ranked("q", GroupOrder.DEPTH, 3)
    assert [(one.group, one.depth) for one in records[:1]] == [("g700", 6)]
    assert len(records) == 3
    assert not exact


def oldest(store: Store) -> str | None:
    return store.survey.ranking("q").oldest[0].group


def test_few_groups_are_exact_at_once(store: Store) -> None:
    store.enqueue("q", [new(f"{n}", f"g{n % 3}") for n in range(7)] + [new("alone", None)])
    records, exact = store.groups.ranked("q", GroupOrder.DEPTH)
    assert [(one.group, one.depth) for one in records] == [("g0", 3), ("g1", 2), ("g2", 2), (None, 1)]
    assert exact
    assert store.groups.ranked("q", GroupOrder.AGE, 1)[0][0].group == "g0"


def test_where_there_is_no_need_a_reaper_hardly_asks(store: Store) -> None:
    store.enqueue("q", [new("1", "g")])
    reaper = Reaper(store, store.queues)
    reaper.run_once()
    before = calls(store)
    for _ in range(5):
        reaper.run_once()
    after = calls(store)
    assert after - before == 5 * 2  # the queues, and one reap: nothing was asked about a search


def calls(store: Store) -> int:
    """Commands that clients sent so far, without those that scripts ran."""
    stats = store.command("INFO", "commandstats").decode()
    found = re.findall(r"cmdstat_(?:evalsha|eval):calls=(\d+)", stats)
    return sum(map(int, found)) + int(re.findall(r"cmdstat_smembers:calls=(\d+)", stats)[0])

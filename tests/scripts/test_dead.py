"""Dead letters listed, counted by kind, discarded and kept for their time; heads that are skipped."""

import json
from typing import Any

import pytest

from lockstep.states import Verb
from tests.scripts.shard import HOUR, Shard, kind_of, listed_dead, message, settlement, text


def error(kind: str = "E", words: str = "m", fingerprint: str = "f") -> bytes:
    """An error as a worker tells it."""
    return json.dumps({"type": kind, "message": words, "traceback": "", "fingerprint": fingerprint}).encode()


def listed(shard: Shard, most: int = 100, look: int = 1000, **wanted: object) -> list[str]:
    """All that match, page by page."""
    after, found = ("", ""), []
    while True:
        ms, id_, items = shard.run("list_dead", json.dumps(wanted), most, look, *after)
        assert len(items) <= min(most, look)
        found += [text(item[0]) for item in items]
        after = text(ms), text(id_)
        if not after[0]:
            return found


def kinds(shard: Shard) -> list[Any]:
    """Every kind with how many it has and its newest."""
    reply = shard.run("dead_kinds")
    return sorted((*map(text, one[:4]), one[4], text(one[7])) for one in reply)


@pytest.fixture
def buried(shard: Shard) -> Shard:
    """Four dead letters: three of group a, one without a group."""
    shard.enqueue(*(message(id_, "a") for id_ in "123"), message("4"))
    shard.bury("1", error=error(words="No such Host"))
    shard.bury("2", error=error("F", "Übel", "g"))
    shard.bury("3", "4")
    return shard


def test_the_newest_first_page_by_page(buried: Shard) -> None:
    ids = "1234"
    buried.redis.zadd(buried.key("dead"), {"1": 10, "2": 30, "3": 20, "4": 40})
    assert listed(buried) == ["4", "2", "3", "1"]
    for most in (1, 2, 3):
        assert listed(buried, most) == listed(buried, 100, most) == ["4", "2", "3", "1"]
    buried.redis.zadd(buried.key("dead"), dict.fromkeys(ids, 10))  # all in one millisecond
    assert listed(buried, 1) == listed(buried, 3) == ["4", "3", "2", "1"]


def test_a_page_goes_on_though_its_last_one_is_gone(buried: Shard) -> None:
    buried.redis.zadd(buried.key("dead"), dict.fromkeys("1234", 10))
    ms, id_, _ = buried.run("list_dead", "{}", 2, 1000, "", "")
    assert text(id_) == "3"
    buried.discard("3")
    assert [text(one[0]) for one in buried.run("list_dead", "{}", 9, 1000, ms, id_)[2]] == ["2", "1"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"actor": "act"}, "4321"),
        ({"actor": "other"}, ""),
        ({"group": "a"}, "321"),
        ({"group": "b"}, ""),
        ({"error": "E"}, "1"),
        ({"error": "why"}, "43"),
        ({"fingerprint": "g"}, "2"),
        ({"text": "such hOST"}, "1"),
        ({"text": "%a"}, ""),
        ({"text": "Übel"}, "2"),
        ({"since": 0}, "4321"),
        ({"until": 0}, ""),
        ({"group": "a", "error": "why"}, "3"),
    ],
)
def test_filters(buried: Shard, wanted: dict[str, object], ids: str) -> None:
    assert sorted(listed(buried, **wanted)) == sorted(ids)
    assert buried.redrive(dry=True, **wanted)[2] == sorted(ids)
    assert buried.discard(dry=True, **wanted) == sorted(ids)


def test_when_it_died(buried: Shard) -> None:
    now = int(buried.now())
    for id_, age in (("1", 3000), ("2", 2000), ("3", 1000)):
        row = buried.redis.hget(buried.key("messages"), id_)
        move = "local r = cmsgpack.unpack(ARGV[1]) r[11] = tonumber(ARGV[2]) return cmsgpack.pack(r)"
        moved = buried.redis.execute_command("EVAL", move, 0, row, now - age)
        buried.redis.hset(buried.key("messages"), id_, moved)
        buried.redis.zadd(buried.key("dead"), {id_: now - age})
    both = {"since": now - 2000, "until": now - 1000}
    assert listed(buried, **both) == ["3", "2"]
    assert buried.redrive(dry=True, **both)[2] == ["2", "3"]


def test_kinds_are_counted_and_go_with_their_last(buried: Shard) -> None:
    first = ("act", "E", "f", "No such Host", 1, "1")
    assert kinds(buried) == [first, ("act", "F", "g", "Übel", 1, "2"), ("act", "why", "", "", 2, "4")]
    buried.redrive("2")
    buried.discard("4")
    assert kinds(buried) == [first, ("act", "why", "", "", 1, "3")]
    assert buried.snapshot()["dead_actors"] == {"act": "2"}
    buried.discard()
    assert kinds(buried) == []
    assert not [name for name in buried.snapshot() if name.startswith(("dead", "kind"))]


def test_beyond_a_thousand_kinds_the_rest_is_one(shard: Shard) -> None:
    shard.redis.hset(
        shard.key("kinds"), mapping={str(number): b"\x94\xa0\xa0\xa0\xa0" for number in range(1000)}
    )
    shard.enqueue(*(message(id_) for id_ in "123"))
    for id_ in "123":
        shard.bury(id_, error=error(fingerprint=id_))
    assert kinds(shard) == [("", "other", "", "", 3, "3")]
    assert listed(shard, fingerprint="2") == ["2"]
    shard.discard("1", "2", "3")
    assert "kind:other" not in shard.snapshot()
    assert shard.redis.hlen(shard.key("kinds")) == 1000


def test_poison_has_its_kind(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, error=error()))
    lease = shard.lease()
    shard.run("start", lease.ref, lease.token)
    shard.expire(lease.ref)
    assert shard.reap(crashes=1).dead == ["1"]
    assert kinds(shard) == [("act", "worker_lost", "", "", 1, "1")]


@pytest.mark.parametrize("told", [b"", b"no JSON", b"[1]", b'"text"', b"null", b"{}"])
def test_an_error_that_is_none_is_no_matter(shard: Shard, told: bytes) -> None:
    shard.enqueue(message("1", "a"))
    shard.bury("1", error=told)
    assert listed(shard) == ["1"]
    assert len(kinds(shard)) == 1


def test_discard(buried: Shard) -> None:
    buried.redis.set(buried.key("result:3"), "r")
    before = buried.snapshot()
    kind = kind_of("why")
    assert buried.discard("3", "unknown") == ["3"]
    changed = buried.changes(before)
    assert changed.keys() == {"messages", "dead", "dead_order", "dead_actors", f"kind:{kind}", "result:3"}
    assert changed["messages"].keys() == set("124")
    assert changed[f"kind:{kind}"].keys() == {"4"}


@pytest.mark.parametrize("behind", [True, False])
def test_to_discard_what_blocks_lets_the_group_go_on(shard: Shard, behind: bool) -> None:
    shard.enqueue(message("1", "a", blocks=True), *([message("2", "a")] if behind else []))
    shard.bury("1")
    shard.discard("1")
    state = shard.snapshot()
    assert "blocked" not in state
    assert state.get("group:g:a") == (["2"] if behind else None)
    assert [lease.id for lease in shard.claim().leases] == (["2"] if behind else [])


def test_a_resent_discard_answers_as_before(buried: Shard) -> None:
    assert buried.discard("1", number="9") == ["1"]
    buried.enqueue(message("1", "a"))
    buried.bury("1")
    assert buried.discard("1", number="9") == ["1"]
    assert buried.state("1") == "dead"


def test_retention(shard: Shard) -> None:
    shard.enqueue(message("1", "a", blocks=True), message("2", "a"), message("3"))
    shard.bury("1")
    shard.bury("3")
    shard.redis.zadd(shard.key("dead"), {"1": shard.now(-2 * HOUR)})
    shard.reap(keep_dead_ms=0)
    assert len(shard.snapshot()["dead"]) == 2
    shard.reap(keep_dead_ms=HOUR)
    assert shard.state("1") is None
    state = shard.snapshot()
    assert "blocked" not in state
    lists = listed_dead("3", shard.near(), "why", sequence=3)
    assert {name: state[name] for name in lists} == lists
    assert shard.lease().id == "2"


def test_retention_goes_step_by_step_and_past_what_redis_lost(shard: Shard) -> None:
    shard.enqueue(*(message(id_) for id_ in "123"))
    shard.bury("1", "2", "3")
    shard.redis.zadd(shard.key("dead"), {"1": 1, "2": 2, "3": 3})
    shard.redis.hdel(shard.key("messages"), "1")
    shard.reap(keep_dead_ms=HOUR, batch=2)
    assert shard.snapshot()["dead"] == shard.snapshot()["dead_order"] | {"3": 3}
    assert listed(shard) == ["3"]


def test_skip_a_head_that_waits(shard: Shard) -> None:
    shard.enqueue(message("1", "a", blocks=True), message("2", "a"))
    before, now = shard.snapshot(), shard.near()
    assert shard.skip("a") == ("skipped", "1")
    changed = shard.changes(before)
    lists = listed_dead("1", now, "skipped")
    assert changed.keys() == lists.keys() | {"messages", "group:g:a"}
    assert {name: changed[name] for name in lists} == lists
    assert shard.snapshot()["ready"] == ["g:a"]
    assert shard.lease().id == "2"


def test_skip_a_head_that_backs_off_or_is_paused(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR, error=error()))
    assert shard.skip("a") == ("skipped", "1")
    assert kinds(shard) == [("act", "skipped", "", "", 1, "1")]
    shard.run("pause", "g:a")
    assert shard.skip("a") == ("skipped", "2")
    assert shard.claim().leases == []
    shard.run("resume", "g:a")
    assert shard.lease().id == "3"


def test_skip_what_blocks_its_group(shard: Shard) -> None:
    shard.enqueue(message("1", "a", blocks=True), message("2", "a"))
    shard.bury("1")
    before = shard.snapshot()
    assert shard.skip("a") == ("skipped", "1")
    assert shard.changes(before) == {
        "blocked": None,
        "group:g:a": ["2"],
        "ready": ["g:a"],
        "wake": ["1"],
    }
    assert shard.state("1") == "dead"
    shard.redrive("1", order="head")
    assert shard.lease().id == "1"


def test_skip_nothing_that_runs_and_nothing_that_is_not_there(shard: Shard) -> None:
    assert shard.skip("a") == ("none", "")
    shard.enqueue(message("1", "a"))
    shard.lease()
    before = shard.snapshot()
    assert shard.skip("a") == ("running", "1")
    assert shard.changes(before) == {}


def test_a_resent_skip_skips_once(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    assert shard.skip("a", number="5") == shard.skip("a", number="5") == ("skipped", "1")
    assert shard.state("2") == "waiting"


def test_skip_the_only_one(shard: Shard) -> None:
    shard.enqueue(message("1", "a"))
    shard.skip("a")
    state = shard.snapshot()
    assert not state.keys() & {"group:g:a", "ready", "blocked", "halted"}
    assert shard.claim().leases == []

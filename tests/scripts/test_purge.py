"""Taking back all that waits, batch by batch."""

import json
from typing import Any

from lockstep.limitstore import encode
from lockstep.rates import parse_rates
from lockstep.states import Verb
from tests.scripts.shard import GARBAGE, HOUR, Shard, message, settlement


def purge(
    shard: Shard, where: str, *arguments: Any, until: object = "", most: int = 500, group: str = ""
) -> Any:
    """Purged, looked, remaining."""
    return shard.run("purge", until, most, group, where, *arguments)[1:]


def test_scheduled_ones_go_without_a_record(shard: Shard) -> None:
    shard.enqueue(message("1", "a", delay=HOUR), message("2", delay=HOUR), message("3", "b"))
    before = shard.snapshot()
    assert purge(shard, "scheduled", 0, 10) == [2, 2, 0]
    changed = shard.changes(before)
    assert changed.keys() == {"scheduled", "messages", "stats"}
    assert (changed["scheduled"], changed["messages"].keys()) == (None, {"3"})
    assert changed["stats"]["cancelled|act"] == "2"
    before = shard.snapshot()
    assert purge(shard, "scheduled", 0, 10) == [0, 0, 0]
    assert shard.changes(before) == {}


def test_scheduled_ones_of_one_group_are_found_page_by_page(shard: Shard) -> None:
    shard.enqueue(*(message(str(n), "ab"[n % 2], delay=HOUR + n) for n in range(6)))
    assert purge(shard, "scheduled", 0, 4, group="a") == [2, 4, 2]
    assert purge(shard, "scheduled", 2, 4, group="a") == [1, 2, 1]
    assert len(shard.snapshot()["scheduled"]) == 3
    assert all(shard.state(id_) == "scheduled" for id_ in "135")


def test_ready_groups_and_messages_go(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3"), message("4", "b"))
    assert purge(shard, "ready", 0, 10) == [4, 3, 0]
    assert shard.snapshot().keys() - {"wake"} == {"meta", "stats"}
    shard.enqueue(message("5", "a"))
    assert shard.lease().id == "5"


def test_a_batch_is_bounded_and_the_rest_waits(shard: Shard) -> None:
    shard.enqueue(*(message(str(n), "a") for n in range(1, 8)), message("8", "b"))
    assert purge(shard, "ready", 0, 10, most=3) == [3, 0, 0]
    state = shard.snapshot()
    assert (state["group:g:a"], state["ready"]) == (["1", "5", "6", "7"], ["g:a", "g:b"])
    assert purge(shard, "ready", 0, 10, most=4) == [4, 1, 0]
    assert shard.snapshot()["ready"] == ["g:b"]
    assert purge(shard, "ready", 0, 10, most=4) == [1, 1, 0]


def test_what_came_later_stays_and_its_group_goes_to_the_end(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "b"))
    until = int(shard.now())
    while shard.now() <= until:
        pass
    shard.enqueue(message("3", "a"), message("4", "c"))
    assert purge(shard, "ready", 0, 3, until=until) == [2, 3, 2]
    state = shard.snapshot()
    assert (state["ready"], state["group:g:a"]) == (["g:a", "g:c"], ["3"])


def test_what_runs_goes_on_and_what_is_behind_it_goes(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "a"), message("4"))
    first, second = shard.claim(5).leases
    before = shard.snapshot()
    assert purge(shard, "refs", "g:a", "m:4") == [2, 2, 0]
    assert shard.changes(before).keys() == {"group:g:a", "messages", "stats"}
    shard.settle(settlement(first, Verb.RETRY, delay_ms=HOUR), settlement(second, Verb.COMPLETE))
    assert shard.state("1") == "backoff"
    assert shard.state("4") == "done"


def test_a_group_that_backs_off_goes_and_a_dead_letter_stays(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"), message("3", "b", blocks=True), message("4", "b"))
    first, second = shard.claim(5).leases
    shard.settle(
        settlement(first, Verb.RETRY, delay_ms=HOUR), settlement(second, Verb.DEAD_LETTER, reason="why")
    )
    assert purge(shard, "refs", "g:a", "g:b") == [3, 2, 0]
    state = shard.snapshot()
    assert state["messages"].keys() == {"3"}
    assert (state["blocked"].keys(), state["group:g:b"]) == ({"g:b"}, ["3"])
    assert "ready" not in state
    assert shard.state("3") == "dead"


def test_a_paused_group_goes_and_stays_paused(shard: Shard) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    shard.run("pause", "g:a")
    assert purge(shard, "refs", "g:a") == [2, 1, 0]
    state = shard.snapshot()
    assert state.keys() - {"wake"} == {"meta", "stats", "paused"}


def test_a_group_that_waits_for_a_limit_goes(shard: Shard) -> None:
    shard.redis.hset(shard.limits, "code:rate:act", encode(parse_rates(["1/1h"])))
    shard.enqueue(message("1", "a"), message("2", "b"), message("3", "b"), message("4"))
    shard.lease()
    shard.claim(5)
    assert shard.snapshot()["limited"].keys() == {"g:b", "m:4"}
    assert purge(shard, "refs", "g:b", "m:4") == [3, 2, 0]
    state = shard.snapshot()
    assert not {name for name in state if name.startswith(("lane", "limited"))}
    assert state["messages"].keys() == {"1"}


def test_only_messages_of_a_group_with_several_at_once(shard: Shard) -> None:
    shard.enqueue(message("1"), message("2", "a"))
    shard.enqueue(message("3"), message("4"))
    row = {"slots": 2, "group": "G"}
    shard.enqueue(["5", "m:5", "act", b"p", 0, "0", json.dumps(row)])
    assert purge(shard, "refs", "m:4", "m:5", "g:G", group="G") == [1, 3, 0]
    assert shard.state("5") is None
    assert shard.state("4") == "waiting"


def test_bytes_that_are_no_row_go_too(shard: Shard) -> None:
    shard.enqueue(*(message(str(n), "a") for n in range(len(GARBAGE))))
    for n, bytes_ in enumerate(GARBAGE):
        shard.redis.hset(shard.key("messages"), str(n), bytes_)
    assert purge(shard, "ready", 0, 10) == [len(GARBAGE), 1, 0]
    assert "messages" not in shard.snapshot()


def test_a_purged_message_keeps_no_other_out(shard: Shard) -> None:
    shard.enqueue(message("1", "a", unique=["print", "finished"]))
    assert shard.snapshot()["unique"] == {"print": "1"}
    assert purge(shard, "ready", 0, 10) == [1, 1, 0]
    assert "unique" not in shard.snapshot()

"""The scripts of schedules: whole states before and after."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from lockstep import scripts
from lockstep.settings import Settings
from tests.scripts.shard import HOUR, Near, text

KEEP_MS = 10 * HOUR
ALIVE_MS, LATE_MS, CLAIM_MS = 10_000, 60_000, 14_000


class Shared:
    """The two keys of schedules, all calls explicit."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.redis = client
        self.keys = (f"{{{namespace}}}:schedules", f"{{{namespace}}}:schedulers")

    def run(self, name: str, keys: int, *arguments: Any) -> Any:
        return self.redis.execute_command(
            "EVAL", scripts.load(name).text, keys, *self.keys[:keys], *arguments
        )

    def now(self, offset: int = 0) -> int:
        seconds, micros = self.redis.time()
        return int(seconds * 1000 + micros // 1000 + offset)

    def beat(self, *schedules: tuple[str, str, str], scheduler: str = "s1") -> list[int]:
        flat = [part for one in schedules for part in one]
        return list(self.run("beat", 2, scheduler, ALIVE_MS, KEEP_MS, LATE_MS, *flat))

    def fire(self, mark: int, tick: int, scheduler: str = "s1") -> int:
        return int(self.run("fire", 1, "a", mark, tick, scheduler, CLAIM_MS))

    def mark(self, tick: int, fired: int = 0, message: str = "", scheduler: str = "s1") -> Any:
        return self.run("mark", 1, "a", tick, scheduler, fired, message)

    def snapshot(self) -> dict[str, Any]:
        """Both keys whole, schedules unpacked."""
        unpack = "return cmsgpack.unpack(ARGV[1])"
        packed = self.redis.hgetall(self.keys[0]).items()
        return {
            "schedules": {
                text(name): [text(v) if isinstance(v, bytes) else v for v in self.redis.eval(unpack, 0, one)]
                for name, one in packed
            },
            "schedulers": {
                text(name): ms for name, ms in self.redis.zrange(self.keys[1], 0, -1, withscores=True)
            },
        }

    def seed(self, **elements: Any) -> None:
        """Write the schedule ``a``."""
        row = {
            "expression": "* * * * *", "catch_up": "last", "mark": 1000, "seen": self.now(), "claimer": "",
            "claimed": 0, "tick": 0, "fired": 0, "message": "", **elements,
        }  # fmt: skip
        pack = "redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(cjson.decode(ARGV[2])))"
        self.redis.eval(pack, 1, self.keys[0], "a", json.dumps(list(row.values())))


@pytest.fixture
def shared(redis_url: str, settings: Settings) -> Iterator[Shared]:
    client = redis.Redis.from_url(redis_url, protocol=2)
    yield Shared(client, settings.queue_namespace)
    client.close()


ONE = ("a", "* * * * *", "last")


def test_beat_declares_what_is_new_from_now_on(shared: Shared) -> None:
    now, mark, claimed = shared.beat(ONE)
    assert (now, mark, claimed) == (Near(shared.now()), now, 0)
    assert shared.snapshot() == {
        "schedules": {"a": ["* * * * *", "last", now, now, "", 0, 0, 0, ""]},
        "schedulers": {"s1": now},
    }
    assert 0 < shared.redis.pttl(shared.keys[0]) <= KEEP_MS
    assert 0 < shared.redis.pttl(shared.keys[1]) <= ALIVE_MS


def test_beat_again_keeps_the_mark_and_takes_the_new_policy(shared: Shared) -> None:
    shared.seed(mark=5000, tick=4000, fired=4500, message="m")
    now, mark, _ = shared.beat(("a", "* * * * *", "all"))
    assert mark == 5000
    assert shared.snapshot()["schedules"] == {"a": ["* * * * *", "all", 5000, now, "", 0, 4000, 4500, "m"]}


def test_beat_with_another_expression_opens_the_last_moments_only(shared: Shared) -> None:
    seen = shared.now() - HOUR
    shared.seed(mark=5000, seen=seen)
    assert shared.beat(("a", "0 * * * *", "last"))[1] == seen - LATE_MS
    # An older release that still declares its own moves nothing further.
    assert shared.beat(ONE)[1] == Near(shared.now(-LATE_MS))
    shared.seed(mark=shared.now(-5))
    assert shared.beat(("a", "0 * * * *", "last"))[1] == Near(shared.now(-5))


def test_beat_says_what_another_has_claimed(shared: Shared) -> None:
    shared.seed(claimer="s2", claimed=shared.now(HOUR))
    assert shared.beat(ONE)[2] == 1
    assert shared.beat(ONE, scheduler="s2")[2] == 0
    shared.seed(claimer="s2", claimed=shared.now(-1))
    assert shared.beat(ONE)[2] == 0


def test_beat_drops_what_nobody_declares(shared: Shared) -> None:
    shared.seed(seen=shared.now(-KEEP_MS - HOUR))
    shared.beat(("b", "0 * * * *", "skip"))
    assert list(shared.snapshot()["schedules"]) == ["b"]
    shared.seed(seen=shared.now(-KEEP_MS + HOUR))
    shared.beat(("b", "0 * * * *", "skip"))
    assert sorted(shared.snapshot()["schedules"]) == ["a", "b"]


def test_beat_forgets_dead_schedulers(shared: Shared) -> None:
    shared.redis.zadd(shared.keys[1], {"old": shared.now(-ALIVE_MS - 1000), "young": shared.now(-1000)})
    shared.beat(ONE)
    assert sorted(shared.snapshot()["schedulers"]) == ["s1", "young"]


def test_fire_claims_for_one_scheduler(shared: Shared) -> None:
    shared.seed(seen=7)
    assert shared.fire(1000, 2000) == 1
    claimed = ["* * * * *", "last", 1000, 7, "s1", Near(shared.now(CLAIM_MS)), 0, 0, ""]
    assert shared.snapshot()["schedules"] == {"a": claimed}
    assert shared.fire(1000, 2000, scheduler="s2") == 0
    assert shared.fire(1000, 2000) == 1  # sent twice
    assert shared.snapshot()["schedules"] == {"a": claimed}


def test_fire_takes_a_claim_that_ended(shared: Shared) -> None:
    shared.seed(claimer="s2", claimed=shared.now(-1))
    assert shared.fire(1000, 2000) == 1
    assert shared.snapshot()["schedules"]["a"][4] == "s1"


@pytest.mark.parametrize("mark", [999, 1001])
def test_fire_refuses_who_knows_another_mark(shared: Shared, mark: int) -> None:
    shared.seed()
    before = shared.snapshot()
    assert shared.fire(mark, 2000) == 0
    assert shared.snapshot() == before


def test_fire_refuses_what_is_yet_to_come(shared: Shared) -> None:
    shared.seed()
    before = shared.snapshot()
    assert shared.fire(1000, shared.now(120_000)) == 0
    assert shared.snapshot() == before


def test_mark_notes_what_was_fired_and_ends_the_claim(shared: Shared) -> None:
    shared.seed(seen=7, claimer="s1", claimed=shared.now(HOUR))
    assert shared.mark(3000, 3000, "m3") == 3000
    after = {"a": ["* * * * *", "last", 3000, 7, "", 0, 3000, Near(shared.now()), "m3"]}
    assert shared.snapshot()["schedules"] == after
    exact = shared.snapshot()
    assert shared.mark(3000, 3000, "m3") == 3000
    assert shared.snapshot() == exact


def test_mark_of_skipped_ticks_keeps_what_was_fired_before(shared: Shared) -> None:
    shared.seed(seen=7, tick=500, fired=600, message="m")
    assert shared.mark(3000) == 3000
    assert shared.snapshot()["schedules"] == {"a": ["* * * * *", "last", 3000, 7, "", 0, 500, 600, "m"]}


def test_mark_never_goes_back_and_leaves_the_claim_of_another(shared: Shared) -> None:
    shared.seed(seen=7, mark=5000, claimer="s2", claimed=9, tick=5000, fired=5001, message="m5")
    before = shared.snapshot()
    assert shared.mark(3000, 3000, "m3") == 5000
    assert shared.snapshot() == before


@pytest.mark.parametrize("name", ["fire", "mark"])
def test_nothing_is_written_for_an_unknown_schedule(shared: Shared, name: str) -> None:
    assert not (shared.fire(1000, 2000) if name == "fire" else shared.mark(3000, 3000, "m"))
    assert shared.snapshot() == {"schedules": {}, "schedulers": {}}


def test_schedules_reads_everything(shared: Shared) -> None:
    shared.seed(seen=7, tick=500, fired=600, message="m")
    shared.redis.zadd(shared.keys[1], {"s1": shared.now(-1000)})
    before = shared.snapshot()
    now, schedulers, row = shared.run("schedules", 2)
    assert now == Near(shared.now())
    assert schedulers == [b"s1", Near(1000)]
    assert row == [b"a", b"* * * * *", b"last", 1000, 7, 500, 600, b"m"]
    assert shared.snapshot() == before

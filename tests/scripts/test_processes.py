"""The scripts of process records: whole states before and after; and records of other releases."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from lockstep import scripts
from lockstep.processes import FORGET_SECONDS, ProcessRecord, ProcessState, ProcessType
from lockstep.settings import Settings
from lockstep.store import Store
from tests.scripts.shard import SLACK_MS, Near, text

FORGET_MS = int(FORGET_SECONDS * 1000)

RECORD = ProcessRecord(
    name="i:7:ab",
    type=ProcessType.WORKER,
    role="all",
    instance="i",
    host="h",
    pid=7,
    master_pid=6,
    boot="b",
    version="1",
    started_ms=5,
    state=ProcessState.READY,
    busy=1,
    capacity=8,
    memory_bytes=4096,
    queues=("mail", "messages"),
    done=3,
    siblings=2,
)


class Shared:
    """The two keys of process records, all calls explicit."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.redis = client
        self.keys = (f"{{{namespace}}}:processes", f"{{{namespace}}}:processes:seen")

    def run(self, name: str, *arguments: Any) -> Any:
        return self.redis.execute_command("EVAL", scripts.load(name).text, 2, *self.keys, *arguments)

    def now(self, offset: int = 0) -> int:
        seconds, micros = self.redis.time()
        return int(seconds * 1000 + micros // 1000 + offset)

    def report(self, name: str, record: str = "r") -> int:
        return int(self.run("report", name, record, FORGET_MS))

    def seed(self, name: str, age_ms: int, record: str | bytes = "r") -> None:
        self.redis.hset(self.keys[0], name, record)
        self.redis.zadd(self.keys[1], {name: self.now(-age_ms)})

    def snapshot(self) -> tuple[dict[str, str], dict[str, float]]:
        """Both keys whole."""
        records = self.redis.hgetall(self.keys[0]).items()
        seen = self.redis.zrange(self.keys[1], 0, -1, withscores=True)
        return {text(name): text(one) for name, one in records}, {text(name): ms for name, ms in seen}


@pytest.fixture
def shared(redis_url: str, settings: Settings) -> Iterator[Shared]:
    client = redis.Redis.from_url(redis_url, protocol=2)
    yield Shared(client, settings.queue_namespace)
    client.close()


def test_report_notes_what_a_process_says_and_that_it_was_heard_of(shared: Shared) -> None:
    assert shared.report("p", "first") == 1
    assert shared.snapshot() == ({"p": "first"}, {"p": Near(shared.now())})
    assert shared.report("p", "second") == 1
    assert shared.report("p", "second") == 1  # sent twice
    assert shared.snapshot() == ({"p": "second"}, {"p": Near(shared.now())})
    assert all(0 < shared.redis.pttl(key) <= FORGET_MS for key in shared.keys)


def test_report_forgets_who_said_nothing_for_long(shared: Shared) -> None:
    shared.seed("old", FORGET_MS + 1000)
    shared.seed("young", FORGET_MS - SLACK_MS)
    shared.report("p")
    assert [sorted(part) for part in shared.snapshot()] == [["p", "young"]] * 2


def test_report_of_one_that_was_forgotten_makes_it_known_again(shared: Shared) -> None:
    shared.seed("p", FORGET_MS + 1000, "former")
    shared.report("p", "back")
    assert shared.snapshot() == ({"p": "back"}, {"p": Near(shared.now())})


def test_a_report_is_taken_where_redis_is_full(shared: Shared) -> None:
    shared.report("p", "first")
    used = shared.redis.info("memory")["used_memory"]
    shared.redis.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            shared.redis.set(f"{shared.keys[0]}:other", "x")
        assert shared.report("p", "second") == 1
    finally:
        shared.redis.config_set("maxmemory", 0)
    assert shared.snapshot()[0] == {"p": "second"}


def test_withdraw_forgets_one(shared: Shared) -> None:
    shared.seed("p", 0)
    shared.seed("q", 0)
    assert shared.run("withdraw", "p") == 1
    assert [list(part) for part in shared.snapshot()] == [["q"]] * 2
    assert shared.run("withdraw", "p") == 0
    assert shared.run("withdraw", "q") == 1
    assert shared.redis.exists(*shared.keys) == 0


def test_processes_reads_who_was_heard_of_lately(shared: Shared) -> None:
    shared.seed("old", FORGET_MS + 1000)
    shared.seed("b", 1000, "rb")
    shared.seed("a", 3000, b"\xff")
    before = shared.snapshot()
    assert shared.run("processes", FORGET_MS, 10) == [b"a", Near(3000), b"\xff", b"b", Near(1000), b"rb"]
    assert shared.run("processes", FORGET_MS, 1) == [b"a", Near(3000), b"\xff"]
    assert shared.snapshot() == before


def test_a_record_comes_back_as_it_was_reported(store: Store) -> None:
    scheduler = replace(RECORD, name="s", type=ProcessType.SCHEDULER, host="g", queues=(), siblings=1)
    for one in (RECORD, scheduler):
        store.processes.report(one)
    listed = store.processes.listing()
    assert [replace(one, seen_ms=0) for one in listed] == [scheduler, RECORD]
    assert all(0 <= one.seen_ms < SLACK_MS for one in listed)
    assert store.processes.withdraw("s")
    assert not store.processes.withdraw("s")
    assert [one.name for one in store.processes.listing()] == [RECORD.name]


def test_fields_of_another_release_are_ignored_or_have_defaults(store: Store, shared: Shared) -> None:
    newer = {**json.loads(RECORD.encode()), "added_later": {"x": 1}}
    older = {name: value for name, value in newer.items() if name not in ("siblings", "busy", "added_later")}
    shared.seed("newer", 0, json.dumps(newer))
    shared.seed("older", 0, json.dumps(older))
    listed = {one.name: replace(one, seen_ms=0) for one in store.processes.listing()}
    assert listed == {
        "newer": replace(RECORD, name="newer"),
        "older": replace(RECORD, name="older", busy=0, siblings=1),
    }


@pytest.mark.parametrize(
    "stored",
    [
        b"\xff", b"{", b"[]", b"null", b"{}", RECORD.encode().replace(b'"ready"', b'"resting"'),
        RECORD.encode().replace(b'"busy":1', b'"busy":"1"'), RECORD.encode().replace(b'"busy":1', b'"busy":null'),
        RECORD.encode().replace(b'"worker"', b'"oven"'), RECORD.encode().replace(b'["mail","messages"]', b"1"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_left_out_and_told(
    store: Store, shared: Shared, stored: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.processes.report(RECORD)
    shared.seed("strange", 0, stored)
    assert [one.name for one in store.processes.listing()] == [RECORD.name]
    assert "process.unreadable" in caplog.text

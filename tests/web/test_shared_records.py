"""Nothing that a process stored about itself breaks the pages and commands of others."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from typer.testing import CliRunner

from lockstep.cli.commands import make_app
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.schedules import CatchUp, Schedule
from lockstep.settings import Settings
from tests.web.client import Client
from web.fleet import read_fleet

PATHS = (
    "processes",
    "workers",
    "schedules",
    "intake",
    "limits",
    "queues",
    "queues/mail",
    "queues/mail/groups",
)
COMMANDS = ("processes", "workers", "status", "schedules", "limits", "queues", "scaling")

RECORD = json.loads(
    ProcessRecord(
        name="", type=ProcessType.WORKER, role="all", instance="i", host="h", pid=7, master_pid=6, boot="b",
        version="1", started_ms=5, state=ProcessState.READY, capacity=8, queues=("mail",),
    ).encode()
)  # fmt: skip

#: What a process may say of itself, whether by its environment, its release or a defect.
STRANGE: dict[str, bytes] = {
    name: json.dumps({**RECORD, **changes}).encode()
    for name, changes in {
        "bytes that are not UTF-8": {"version": "\udcff\udcfe"},
        "half of a pair": {"host": "\ud83d", "role": "\udc00"},
        "newlines and quotes": {"version": 'a\nb"c\\d\re\x00\x1b[2J\u2028', "role": "\n", "instance": "\x07"},
        "endless text": {"version": "v" * 100_000, "instance": "i" * 100_000},
        "endless numbers": {"busy": 10**300, "capacity": 10**300, "done": 10**300, "memory_bytes": 10**300},
        "times beyond the calendar": {"started_ms": 10**30},
        "negative numbers": {"busy": -5, "capacity": -(10**300), "started_ms": -(10**18), "pid": -1},
        "no number": {"started_ms": "x"},
        "not a number": {"busy": float("nan")},
        "infinite": {"started_ms": float("inf")},
        "a fraction": {"started_ms": 1.5},
        "yes": {"busy": True},
        "nothing": {"version": None},
        "a list": {"version": ["1"]},
        "queues that are text": {"queues": "mail"},
        "queues that are numbers": {"queues": [1, None, {"a": []}]},
        "queues that are not UTF-8": {"queues": ["\udcff", "a\nb"]},
        "a state of a newer release": {"state": "resting"},
        "a type of a newer release": {"type": "oven", "state": ["ready"]},
        "a type that is a list": {"type": [], "state": {}},
    }.items()
} | {
    "nothing at all": b"",
    "raw bytes": b'{"version": "\xff"}',
    "no JSON": b"{",
    "another shape": b"[[]]",
    "an empty record": b"{}",
    "nested": b"[" * 100_000,
    "digits": b'{"pid": ' + b"9" * 10_000 + b"}",
}  # fmt: skip


class Damage:
    """Writes shared records as another release, or a broken process, would."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.redis = client
        self.prefix = f"{{{namespace}}}:"

    def report(self, name: bytes | str, record: bytes) -> None:
        self.redis.hset(self.prefix + "processes", name, record)
        # Seen in an hour: on a busy machine it would be forgotten before the end of the test.
        self.redis.zadd(self.prefix + "processes:seen", {name: self.now(3_600_000)})

    def now(self, offset_ms: int = 0) -> int:
        return int(self.redis.time()[0]) * 1000 + offset_ms


@pytest.fixture
def damage(settings: Settings) -> Iterator[Damage]:
    assert settings.redis_url
    with redis.Redis.from_url(settings.redis_url) as connection:
        yield Damage(connection, settings.queue_namespace)


@pytest.fixture
def works(client: Client, settings: Settings) -> Callable[[], None]:
    """Checks that every page and command that reads shared records works."""
    environment = {"REDIS_URL": str(settings.redis_url), "QUEUE_NAMESPACE": settings.queue_namespace}

    def check() -> None:
        for accept, parse in (
            ("text/plain", parse_text),
            ("application/openmetrics-text", parse_openmetrics),
        ):
            scraped = client.get("/metrics", accept=accept)
            assert scraped.status_code == 200
            assert list(parse(scraped.text))
        for path in PATHS:
            answer = client.get(f"/api/v1/{path}")
            assert answer.status_code == 200, (path, answer.text)
            json.dumps(answer.json(), allow_nan=False).encode()
        json.dumps(read_fleet(client.app.state.context.broker.store).data, allow_nan=False)  # of /events
        for command in COMMANDS:
            for options in ([], ["--json"]):
                shown = CliRunner().invoke(make_app(), [command, *options], env=environment)
                assert shown.exit_code == 0, (command, shown.output, shown.exception)
                shown.output.encode("utf-8")
                assert "\x1b[2J" not in shown.output

    return check


def test_whatever_a_process_says_of_itself(client: Client, damage: Damage, works: Callable[[], None]) -> None:
    client.post("/api/v1/messages", {"actor": "mail.send", "kwargs": {"to": "a"}})
    for name, record in STRANGE.items():
        damage.report(name, record)
    damage.report(b"\xff\xfe\n\x1b[2J", json.dumps(RECORD).encode())
    damage.report("n" * 100_000, json.dumps(RECORD).encode())
    damage.redis.zadd(damage.prefix + "processes:seen", {"newlines and quotes": 9e15})
    works()
    listed = {one["name"]: one for one in client.get("/api/v1/processes").json()["items"]}
    assert listed["bytes that are not UTF-8"]["version"] == "\\udcff\\udcfe"
    assert listed["newlines and quotes"]["version"] == 'a\\nb"c\\d\\re\\x00\\x1b[2J\\u2028'
    assert len(listed["endless text"]["version"]) == 500
    assert listed["negative numbers"]["started_at"] == "1970-01-01T00:00:00.000Z"
    assert listed["times beyond the calendar"]["started_at"].startswith("9999-12-31")
    assert all(one["seen_seconds"] >= 0 for one in listed.values())
    assert "\\xff\\xfe\\n\\x1b[2J" in listed


def test_what_schedulers_limits_and_operators_left(
    client: Client, damage: Damage, works: Callable[[], None]
) -> None:
    client.post("/api/v1/messages", {"actor": "mail.send", "kwargs": {"to": "a"}, "group": "g"})
    store = client.app.state.context.broker.store
    (shard,) = store.shards("mail")
    damage.redis.hset(damage.prefix + "control", mapping={"why": b"\xff\n\x1b[2J", "since": 10**30})
    damage.redis.zadd(damage.prefix + "schedulers", {b"\xff\n": damage.now(3_600_000)})
    damage.redis.hset(
        damage.prefix + "limits",
        mapping={
            "env:rate:new": "1 per moon",
            "env:concurrency:odd": "many",
            b"code:rate:\xff": "1/60000/1/all",
        },
    )
    damage.redis.zadd(shard.prefix + "claimers", {b'\xff\n"': damage.now()})
    damage.redis.hset(shard.prefix + "stats", b'enqueued|\xff\n"', 3)
    damage.redis.hset(shard.prefix + "dead_actors", b"\xff\n", 3)
    works()
    intake = client.get("/api/v1/intake").json()
    assert (intake["why"], intake["since"]) == ("\\xff\\n\\x1b[2J", None)


def test_a_schedule_of_a_newer_release_is_shown(
    client: Client, damage: Damage, works: Callable[[], None]
) -> None:
    client.post("/api/v1/messages", {"actor": "mail.send", "kwargs": {"to": "a"}})
    store = client.app.state.context.broker.store
    store.schedules.beat("s", [Schedule("a", "@never", CatchUp.LAST), Schedule("b", "* * * * *", "twice")])
    works()
    a, b = client.get("/api/v1/schedules").json()["items"]
    assert (a["expression"], a["next_at"]) == ("@never", None)
    assert b["catch_up"] == "twice" and b["next_at"]

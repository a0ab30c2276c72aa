"""What was used once leaves nothing behind, and one large group is only one group."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dramatiq import Message

from lockstep import keys
from lockstep.envelope import encode
from lockstep.records import NewMessage
from lockstep.states import MessageState
from tests.support.fault_run import QUEUE, FaultRun
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

Make = Callable[..., FaultRun]


def messages(run: FaultRun, groups: Iterator[str]) -> Iterator[NewMessage]:
    for group in groups:
        message: Message[None] = Message(QUEUE, "noop", (), {}, {})
        payload = encode(message, run.broker.encoder)
        yield NewMessage(id=message.message_id, actor="noop", payload=payload, group=group)


def send(run: FaultRun, groups: Iterator[str]) -> None:
    made = messages(run, groups)
    while batch := [one for one, _ in zip(made, range(1000), strict=False)]:
        run.store.enqueue(QUEUE, batch)


def all_keys(run: FaultRun) -> set[str]:
    names = {bytes(key).decode() for key in run.store.command("KEYS", "*")}
    return {name for name in names if "session:" not in name and not name.endswith(":wake")}


def drained(run: FaultRun) -> bool:
    counted = run.store.counts(QUEUE).messages
    return sum(counted.values()) == counted[MessageState.DONE]


def test_a_hundred_thousand_groups_used_once_leave_nothing_behind(make_run: Make) -> None:
    run = make_run(RETENTION_DONE_COUNT="10")
    run.start(2)
    send(run, (f"warm {number}" for number in range(20)))
    wait_for("it is warm", lambda: drained(run))
    before = all_keys(run)
    send(run, (f"group {number}" for number in range(100_000)))
    wait_for("all ran", lambda: drained(run))
    wait_for("the search for extreme groups has ended as well", lambda: all_keys(run) == before)
    assert run.store.counts(QUEUE).messages[MessageState.DONE] == 10


def test_every_key_is_documented_and_those_that_expire_do(make_run: Make) -> None:
    run = make_run(RATE_LIMITS="step=1000/1s,step=1000/1s per group", RETENTION_DONE_COUNT="5")
    run.start(1)
    for number in range(20):
        run.send(f"g{number % 3}", failures=number % 2, charges="key" if number % 5 == 0 else "", holds=0.2)
    wait_for("all ran", lambda: run.unfinished() == 0)
    documented = documented_keys()
    for name in (bytes(key).decode() for key in run.store.command("KEYS", "*")):
        own = re.sub(r"^\{[^}]*\}:", "", name)
        (expires,) = {expires for pattern, expires in documented if re.fullmatch(pattern, own)}
        ttl = int(run.store.command("PTTL", name))
        assert (ttl > 0) == expires, name
    assert sum(expires for _, expires in documented) >= 4


def documented_keys() -> list[tuple[str, bool]]:
    """A pattern for each key that ``keys`` lists, and whether it says that it expires."""
    rows: list[list[str]] = []
    for line in Path(keys.__file__).read_text().splitlines():
        if match := re.match(r"([a-z_]+(?::[\w:]*)*)\s+(hash|list|set|zset|string)\s+(.*)", line):
            rows.append([match[1], match[3]])
        elif rows and line.startswith(" " * 20):
            rows[-1][1] += line
    patterns = [(re.sub(r":[A-Z]+(?=$|:)", ":.*", name), text) for name, text in rows]
    return [(f"{name}(:\\d)?" if name == "ready" else name, "expires" in text) for name, text in patterns]


def test_a_large_group_does_not_hold_up_a_thousand_small_ones(run: FaultRun) -> None:
    send(run, ("large" for _ in range(100_000)))
    send(run, (f"small {number}" for number in range(1000)))
    run.start(2)
    (shard,) = run.store.shards(QUEUE)

    def lists() -> int:
        return sum(
            b"group:g:small" in bytes(key) for key in run.store.command("KEYS", shard.prefix + "group:*")
        )

    wait_for("the small ones ran", lambda: lists() == 0)
    left = int(run.store.command("LLEN", shard.prefix + "group:g:large"))
    assert left > 90_000

"""What is exported comes back as it was; known ids are left alone; a group keeps its order."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lockstep.backup import Export, Import, Imported
from lockstep.backup.lines import read_message
from lockstep.calls import Calls
from lockstep.errors import InvalidMessage
from lockstep.fsck import Fsck
from lockstep.states import MessageState, Verb
from tests.scripts.shard import HOUR, Shard, calls_of, message, settlement
from tests.scripts.test_fsck import drain_in_order, fill


@pytest.fixture
def calls(shard: Shard) -> Iterator[Calls]:
    calls = calls_of(shard)
    calls.command("SADD", calls.global_key("queues"), "q")
    yield calls
    calls.close()


def export(calls: Calls, **options: Any) -> list[bytes]:
    return list(Export(calls, **options).lines())


def restore(calls: Calls, lines: list[bytes]) -> Imported:
    return Import(calls, lambda queue: calls.command("SADD", calls.global_key("queues"), queue)).read(lines)


def lose_everything(shard: Shard) -> None:
    for key in shard.redis.scan_iter(f"{{{shard.keys.namespace}*"):
        shard.redis.delete(key)


def by_id(lines: list[bytes]) -> dict[str, Any]:
    return {view["id"]: view for view in map(json.loads, lines[1:])}


def test_everything_comes_back_as_it_was(shard: Shard, calls: Calls) -> None:
    fill(shard)
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=0, error=b'{"type":"E"}'))
    lines = export(calls)
    before = {name: shard.state(name) for name in by_id(lines)}
    lose_everything(shard)

    imported = restore(calls, lines)

    assert (imported.restored, imported.known, imported.joined, imported.let_go) == (len(lines) - 1, 0, 0, 0)
    assert Fsck(calls).run().found == []
    again = export(calls)
    assert sorted(again[1:]) == sorted(lines[1:])
    after = {name: shard.state(name) for name in before}
    assert after == {name: "waiting" if state == "running" else state for name, state in before.items()}
    drain_in_order(shard)


def test_a_second_import_writes_nothing(shard: Shard, calls: Calls) -> None:
    fill(shard)
    lines = export(calls)
    lose_everything(shard)
    restore(calls, lines)
    before = shard.snapshot()

    imported = restore(calls, lines)

    assert (imported.restored, imported.known) == (0, len(lines) - 1)
    assert shard.changes(before) == {}


def test_an_import_that_died_half_way_is_finished_by_the_next(shard: Shard, calls: Calls) -> None:
    fill(shard)
    lines = export(calls)
    lose_everything(shard)
    restore(calls, lines[: len(lines) // 2])

    imported = restore(calls, lines)

    assert imported.restored == len(lines) - 1 - (len(lines) // 2 - 1)
    assert Fsck(calls).run().found == []
    assert by_id(export(calls)).keys() == by_id(lines).keys()
    drain_in_order(shard)


def test_a_resent_call_gets_its_first_answer(shard: Shard, calls: Calls) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    facts = [read_message(line).facts for line in export(calls)[1:]]
    lose_everything(shard)
    call = ["restorer", "1", "", 2, 2]
    for number, one in enumerate(facts, start=1):
        call += [str(number), "g:a", "act", "p", json.dumps(one)]
    first = shard.run("restore", *call)
    before = shard.snapshot()
    assert shard.run("restore", *call) == first == [b"0", [1, 1], 0, 0]
    assert shard.changes(before) == {}


def test_what_was_there_before_stays_before(shard: Shard, calls: Calls) -> None:
    shard.enqueue(*(message(f"old{number}", "a") for number in range(3)))
    shard.enqueue(message("block", "b", blocks=True), message("b2", "b"))
    shard.bury("block")
    lines = export(calls)
    lose_everything(shard)
    shard.enqueue(message("new1", "a"), message("new2", "a"), message("new3", "b"))

    imported = restore(calls, lines)

    assert (imported.restored, imported.joined, imported.let_go) == (5, 2, 1)
    state = shard.snapshot()
    assert state["group:g:a"] == ["new1", "new2", "old0", "old1", "old2"]
    assert state["group:g:b"] == ["new3", "b2"]
    assert shard.state("block") == "dead"
    assert Fsck(calls).run().found == []
    drain_in_order(shard)


def test_what_is_accepted_while_an_import_goes_on_comes_after_it(shard: Shard, calls: Calls) -> None:
    shard.enqueue(*(message(f"old{number}", "a") for number in range(4)))
    lines = export(calls)
    lose_everything(shard)

    def interrupted() -> Iterator[bytes]:
        for number, line in enumerate(lines):
            if number == 3:
                reader._flush(shard.keys)
                shard.enqueue(message("new", "a"))
            yield line

    reader = Import(calls, lambda queue: None)
    reader.read(interrupted())

    assert shard.snapshot()["group:g:a"] == ["old0", "old1", "old2", "old3", "new"]
    assert Fsck(calls).run().found == []
    drain_in_order(shard)


def test_a_head_that_failed_stays_the_head_and_waits_until_it_is_due(shard: Shard, calls: Calls) -> None:
    shard.enqueue(message("1", "a"), message("2", "a"))
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=HOUR))
    due = shard.snapshot()["blocked"]["g:a"]
    lines = export(calls)
    lose_everything(shard)
    shard.enqueue(message("0", "a"))
    restore(calls, lines)

    assert [one.id for one in shard.claim(5).leases] == ["0"]
    lease = shard.snapshot()["leases"]["g:a"]
    shard.run("settle", "s", "1", 10, 0, 0, "complete", "g:a", lease[0], "0")
    assert shard.claim(5).leases == []
    assert shard.snapshot()["blocked"] == {"g:a": due}
    assert shard.snapshot()["group:g:a"] == ["1", "2"]


@pytest.mark.parametrize("state", list(MessageState))
def test_a_state_chooses(shard: Shard, calls: Calls, state: MessageState) -> None:
    fill(shard)
    found = by_id(export(calls, state=state))
    expected = {name for name in shard.snapshot()["messages"] if shard.state(name) == state.value}
    assert found.keys() == (set() if state in (MessageState.DONE, MessageState.CANCELLED) else expected)


@pytest.mark.parametrize(
    "payload", [b"p", b"\xff\x00", b'{"a":1}', b'{"a": 1}', b"1e999", b"", "ü".encode(), b'{"a":1,"a":1}']
)
def test_a_payload_comes_back_byte_for_byte(shard: Shard, calls: Calls, payload: bytes) -> None:
    shard.enqueue(message("1", "a", payload=payload))
    lines = export(calls)
    assert ("payload" in json.loads(lines[1])) == (payload == b'{"a":1}')
    lose_everything(shard)
    restore(calls, lines)
    assert shard.lease().payload == payload


def line_with(**given: Any) -> bytes:
    view = {
        "id": "1", "queue": "q", "group": "a", "actor": "act", "state": "waiting", "sequence": 1, "enqueued_ms": 1,
        "due_ms": None, "failures": 0, "crashes": 0, "parked_ms": 0, "died_ms": 0, "reason": "", "blocks": False,
        "blocks_now": False, "attempts": [], "extra": {}, "payload": 1,
    }  # fmt: skip
    return json.dumps({name: value for name, value in (view | given).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"{", "line 3"),
        (b"[]", "line 3"),
        (line_with(id=""), "line 3 /id"),
        (line_with(state="running"), "line 3 /state"),
        (line_with(state="scheduled"), "line 3 /due_ms"),
        (line_with(state="dead"), "line 3 /died_ms"),
        (line_with(group=""), "line 3 /group"),
        (line_with(sequence=-1), "line 3 /sequence"),
        (line_with(failures="1"), "line 3 /failures"),
        (line_with(blocks=1), "line 3 /blocks"),
        (line_with(attempts={}), "line 3 /attempts"),
        (line_with(attempts=[{"worker": 1}]), "line 3 /attempts/0/worker"),
        (line_with(extra=[]), "line 3 /extra"),
        (line_with(extra={"priority": 10}), "line 3 /extra/priority"),
        (line_with(extra={"words": [1]}), "line 3 /extra/words/0"),
        (line_with(extra={"unique": ["x"]}), "line 3 /extra/unique"),
        (line_with(payload=...), "line 3 /payload"),
        (line_with(payload_base64="%"), "line 3 /payload_base64"),
        (line_with(queue=5), "line 3 /queue"),
        (line_with(actor=None), "line 3 /actor"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(
    shard: Shard, calls: Calls, line: bytes, field: str
) -> None:
    head = export(calls)[0]
    with pytest.raises(InvalidMessage) as refused:
        restore(calls, [head, line_with(id="0"), line])
    assert refused.value.field == field
    assert shard.snapshot() == {}
    assert restore(calls, [head, line_with(id="0")]).restored == 1


@pytest.mark.parametrize(
    "lines", [[], [b"\n"], [line_with()], [b'{"lockstep_export":2,"highest_sequence":1}']]
)
def test_what_is_no_export_is_refused(calls: Calls, lines: list[bytes]) -> None:
    with pytest.raises(InvalidMessage, match="line 1"):
        restore(calls, lines)

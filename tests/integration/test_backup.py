"""The backup before a risky change: export, lose everything, import, and a real worker does the rest in order."""

import json
from collections.abc import Callable

import dramatiq
from dramatiq import Worker

from lockstep.broker import LockstepBroker
from lockstep.deadletters import DeadFilter, Redrive, each_page
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from tests.support.burying import bury_all

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


def test_what_was_exported_runs_after_everything_was_lost(
    broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    store, ran = broker.store, []

    @dramatiq.actor(
        queue_name="q", group_by="{g}", max_attempts=1, rate_limit="1000/1s", rate_limit_key="{g}"
    )
    def work(g: str, n: int) -> None:
        ran.append((g, n))

    @dramatiq.actor(queue_name="q", group="several", group_concurrency=2)
    def several(n: int) -> None:
        ran.append(("several", n))

    letters = [work.send("dead", n) for n in range(3)]
    deaths = iter(range(3))
    assert bury_all(store, "q", lambda lease: ValueError(f"not {next(deaths)}")) == 3
    sent = [work.send(f"g{n % 3}", n) for n in range(30)]
    sent += [several.send(n) for n in range(3)]
    urgent = work.send_with_options(args=("urgent", 0), priority=0)
    low = work.send_with_options(args=("low", 0), priority=7)
    limited = work.send_with_options(args=("g0", 30))
    late = work.send_with_options(args=("late", 0), delay=2500)
    store.limits.set("work", rates=(), concurrency=4)
    before = {
        one.message_id: store.message(one.message_id) for one in (*letters, *sent, urgent, low, limited, late)
    }

    export = store.export()
    lines = list(export.lines())
    views = {view["id"]: view for view in map(json.loads, lines[1:])}
    assert views[low.message_id]["extra"]["priority"] == 7
    assert views[limited.message_id]["extra"]["limit"] == "g0"
    assert export.messages == len(before)
    for key in store.command("KEYS", f"{{{store.settings.queue_namespace}*"):
        store.command("DEL", key)
    assert store.importer().read(lines).restored == len(before)

    assert store.fsck.run().found == []
    assert {name: store.message(name) for name in before} == before
    assert sorted(list(store.export().lines())[1:]) == sorted(lines[1:])
    listed = each_page(store.dead, DeadFilter(), 10)
    assert sorted(one.message for one in listed) == ["not 0", "not 1", "not 2"]

    start()
    for one in (*sent, urgent, low, limited):
        assert ended(one.message_id).state is MessageState.DONE
    for group in range(3):
        numbers = [n for g, n in ran if g == f"g{group}"]
        assert numbers == sorted(numbers)
    on_time = [one for one in ran if one[0] != "late"]  # on a busy machine that one is done by now
    assert sorted(on_time) == sorted(
        [(f"g{n % 3}", n) for n in range(31)]
        + [("several", n) for n in range(3)]
        + [("urgent", 0), ("low", 0)]
    )
    due = before[late.message_id].due_ms
    assert due is not None
    first = ended(late.message_id).attempts[0]
    assert due <= first.started_ms

    ran.clear()
    assert store.dead.redrive(DeadFilter(), Redrive(order="head")).changed == 3
    for letter in letters:
        record = ended(letter.message_id)
        assert (record.state, [one.outcome for one in record.attempts]) == (
            MessageState.DONE,
            ["dead", "done"],
        )
    assert ran == [("dead", n) for n in range(3)]

"""What operators type: cancel, promote, retry, purge, and the tables."""

import json

import pytest

from lockstep.records import NewMessage
from lockstep.states import MessageState
from lockstep.store import Store
from tests.ops.test_commands import Run, environment, run  # noqa: F401  (fixtures)

HOUR = 3_600_000


def new(id_: str, group: str | None = "a/b", delay_ms: int = 0) -> NewMessage:
    return NewMessage(id=id_, actor="act", payload=b"p", group=group, delay_ms=delay_ms)


def test_cancel(run: Run, store: Store) -> None:  # noqa: F811
    store.enqueue("q", [new("m1")])
    ended = run("cancel", "m1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "m1: cancelled\n", "")
    assert run("cancel", "m1").stdout == "m1: cancelled already\n"
    shown = json.loads(run("cancel", "m1", "--json").stdout)
    assert shown == {
        "id": "m1",
        "queue": "q",
        "state": "cancelled",
        "changed": False,
        "cancel_requested": False,
    }
    refused = run("promote", "m1")
    assert refused.returncode == 5
    assert "message 'm1' is cancelled: cannot promote it" in refused.stderr
    assert run("cancel", "nosuch").returncode == 1


def test_promote_and_retry(run: Run, store: Store) -> None:  # noqa: F811
    store.enqueue("q", [new("m1", delay_ms=HOUR)])
    assert run("retry", "m1").returncode == 5
    assert run("promote", "m1").stdout == "m1: waiting\n"
    assert run("retry", "m1", "--order", "head").stdout == "m1: waiting already\n"
    assert run("retry", "m1", "--order", "middle").returncode == 2
    assert store.message("m1").state is MessageState.WAITING


@pytest.mark.parametrize(("group", "purged"), [((), 1300), (("--group", "a/b"), 1200)])
def test_purge_asks_first(run: Run, store: Store, group: tuple[str, ...], purged: int) -> None:  # noqa: F811
    store.enqueue("q", [new(f"{n}") for n in range(1200)] + [new(f"c{n}", "c") for n in range(100)])
    refused = run("purge", "q", *group, stdin="n\n")
    assert (refused.returncode, refused.stdout.strip()) == (5, "")
    assert f"take back {purged} messages or more" in refused.stderr
    assert store.counts("q").messages[MessageState.WAITING] == 1300
    done = run("purge", "q", *group, "--yes", "--json")
    assert json.loads(done.stdout) == {"queue": "q", "group": group[-1] if group else None, "purged": purged}
    assert store.counts("q").messages[MessageState.WAITING] == 1300 - purged
    assert run("purge", "nosuch", "--yes").returncode == 1


def test_tables(run: Run, store: Store) -> None:  # noqa: F811
    store.enqueue("q", [new("m1"), new("m2"), new("m3", "c\x1b[31m"), new("m4", None)])
    store.pause("q", "a/b")
    listed = json.loads(run("groups", "q", "--json").stdout)
    assert [(one["group"], one["state"], one["depth"]) for one in listed["items"]] == [
        ("c\x1b[31m", "ready", 1),
        (None, "ready", 1),
        ("a/b", "paused", 2),
    ]
    assert listed["more"] is False
    assert json.loads(run("groups", "q", "--limit", "2", "--json").stdout)["more"] is True
    deepest = json.loads(run("groups", "q", "--sort", "depth", "--limit", "1", "--json").stdout)
    assert ([one["group"] for one in deepest["items"]], deepest["exact"]) == (["a/b"], True)
    assert run("groups", "q", "--sort", "age", "--state", "paused").returncode == 2
    shown = run("groups", "q", "--state", "paused").stdout
    assert "a/b" in shown
    assert "m3" not in shown
    assert "\x1b[31m" not in run("groups", "q").stdout
    assert " q " in run("queues").stdout
    (queue,) = json.loads(run("queues", "--json").stdout)["items"]
    assert queue["messages"]["waiting"] == 4
    assert run("groups", "nosuch").returncode == 1
    (all_, own) = json.loads(run("scaling", "--json").stdout)["items"]
    assert (all_["role"], own["role"], all_["depth"], all_["workers_wanted"]) == ("all", "messages", 4, 1)
    assert "messages" in run("scaling").stdout

"""``lockstep dead`` and ``lockstep skip``, as a person types them."""

import json
from typing import Any

import pytest

from lockstep.records import Lease
from lockstep.store import Store
from tests.ops.test_commands import KWARGS, Run, environment, request, run  # noqa: F401  (fixtures)
from tests.support.burying import bury_all


class Refused(Exception):
    """What the messages of these tests die of."""


def cause(lease: Lease) -> BaseException:
    return (
        ValueError("[red]no row[/red]\x1b[2J")
        if lease.id == "m3"
        else Refused(f"host {lease.sequence} says no")
    )


@pytest.fixture
def dead(run: Run, store: Store) -> Run:  # noqa: F811
    """Four dead letters, m1 to m4."""
    lines = "".join(request(id=f"m{number}") for number in range(1, 5))
    assert run("send", "--file", "-", stdin=lines).returncode == 0
    assert bury_all(store, "messages", cause) == 4
    return run


def listed(run: Run, *options: str) -> list[str]:  # noqa: F811
    done = run("dead", "list", "--json", *options)
    assert done.returncode == 0, done.stderr
    return sorted(item["id"] for item in json.loads(done.stdout)["items"])


def said(done: Any) -> str:
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_list_summary_and_show(dead: Run) -> None:
    shown = said(dead("dead", "list", "--since", "1h"))
    assert all(f"m{number}" in shown for number in range(1, 5))
    assert "\x1b[2J" not in shown
    assert "[red]no row[/red]" in shown
    assert listed(dead, "--error", "Refused") == ["m1", "m2", "m4"]
    assert listed(dead, "--text", "HOST 2") == ["m2"]
    assert listed(dead, "--until", "1h") == listed(dead, "--since", "2100-01-01T00:00:00Z") == []
    assert len(listed(dead, "--limit", "3")) == 3
    kinds = json.loads(said(dead("dead", "summary", "--json")))["items"]
    assert [(kind["error"], kind["count"]) for kind in kinds] == [("Refused", 3), ("ValueError", 1)]
    assert listed(dead, "--fingerprint", kinds[0]["fingerprint"]) == ["m1", "m2", "m4"]
    assert "ValueError" in said(dead("dead", "summary"))
    record = json.loads(said(dead("dead", "show", "m3", "--json")))
    assert record["death"]["fingerprint"] == kinds[1]["fingerprint"]


def test_redrive(dead: Run, store: Store) -> None:
    assert said(dead("dead", "redrive", "--error", "Refused", "--dry-run")) == "3 would be redriven\n"
    assert said(dead("dead", "redrive", "--error", "Refused", "--limit", "2")) == "2 redriven\n"
    assert said(dead("dead", "redrive", "m4", "m1", "--order", "head")) == "1 redriven; not dead: m1\n"
    assert store.message("m4").position == 0
    answer = json.loads(said(dead("dead", "redrive", "--all", "--rate", "1/1h", "--json")))
    assert answer == {"matched": 1, "redriven": 1, "missing": [], "dry_run": False}
    assert listed(dead) == []
    assert said(dead("dead", "list")) == "No dead letters.\n"


def test_discard_asks_first(dead: Run) -> None:
    refused = dead("dead", "discard", "--error", "Refused", stdin="n\n")
    assert refused.returncode == 1
    assert "Discard 3 dead letters for good?" in refused.stderr
    assert len(listed(dead)) == 4
    assert said(dead("dead", "discard", "--error", "Refused", "--dry-run")) == "3 would be discarded\n"
    assert said(dead("dead", "discard", "--error", "Refused", stdin="y\n")) == "3 discarded\n"
    assert said(dead("dead", "discard", "--all", "--yes")) == "1 discarded\n"
    assert listed(dead) == []


def test_skip(run: Run, store: Store) -> None:  # noqa: F811
    assert run("send", "messages.deliver", "--kwargs", json.dumps(KWARGS), "--id", "m1").returncode == 0
    where = ("messages", "--group", "shop:c1")
    assert said(run("skip", *where)) == "messages, group shop:c1: skipped m1\n"
    assert store.message("m1").reason == "skipped"
    done = run("skip", *where)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "no message that waits" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("redrive",),
        ("redrive", "m1", "--all"),
        ("redrive", "--all", "--error", "E"),
        ("redrive", "--all", "--order", "middle"),
        ("redrive", "--all", "--order", "head", "--rate", "1/1s"),
        ("redrive", "--all", "--rate", "fast"),
        ("redrive", "--since", "yesterday"),
        ("discard", "--yes"),
        ("list", "--group", ""),
    ],
)
def test_wrong_usage(dead: Run, arguments: tuple[str, ...]) -> None:
    done = dead("dead", *arguments)
    assert done.returncode == 2
    assert done.stderr
    assert len(listed(dead)) == 4


def test_an_unknown_queue(run: Run) -> None:  # noqa: F811
    assert run("dead", "list", "--queue", "nosuch").returncode == 1
    assert run("skip", "nosuch", "--group", "g").returncode == 1

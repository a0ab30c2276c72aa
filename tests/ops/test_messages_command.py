"""``lockstep messages`` and ``lockstep cleanup``, as a person types them."""

import json

from tests.ops.test_commands import Run, environment, request, run  # noqa: F401  (fixtures)


def test_messages_are_listed_and_filtered(run: Run) -> None:  # noqa: F811
    lines = "".join(request(id=f"m{number}") for number in range(1, 5))
    assert run("send", "--file", "-", stdin=lines).returncode == 0
    listed = json.loads(run("messages", "--state", "waiting", "--limit", "3", "--json").stdout)["items"]
    assert len(listed) == 3
    shown = run("messages", "--id", "m2")
    assert shown.returncode == 0
    assert "m2" in shown.stdout
    assert "m1" not in shown.stdout
    assert "No messages" in run("messages", "--state", "dead").stdout
    assert run("messages", "--state", "odd").returncode == 2
    assert run("messages", "--queue", "nosuch").returncode == 1
    refused = run("messages", "--q", "hello")
    assert refused.returncode == 2
    assert "SEARCH_INDEX" in refused.stderr


def test_cleanup_says_what_went(run: Run) -> None:  # noqa: F811
    assert run("send", "--file", "-", stdin=request(id="m1") + request(id="m2")).returncode == 0
    assert run("cancel", "m1").returncode == 0
    assert "done 0, cancelled 0, dead 0" in run("cleanup").stdout
    removed = json.loads(run("cleanup", "--older-than", "0s", "--queue", "messages", "--json").stdout)
    assert removed == {"done": 0, "cancelled": 1, "dead": 0}
    assert run("message", "m1").returncode == 1
    assert run("message", "m2").returncode == 0
    assert run("cleanup", "--queue", "nosuch").returncode == 1
    assert run("cleanup", "--older-than", "soon").returncode == 2

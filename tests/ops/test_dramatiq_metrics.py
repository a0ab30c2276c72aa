"""Dramatiq's own metrics, from real workers: two masters on a machine, one port."""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from lockstep.processes import ProcessState
from lockstep.store import Store
from tests.ops.test_commands import Run, environment, run  # noqa: F401  (fixtures)
from tests.ops.test_processes import ROOT, Start, listed, start  # noqa: F401
from tests.support.fleet import free_port
from tests.support.waiting import PATIENCE, wait_for

NAME = 'dramatiq_{}{{actor_name="slow",queue_name="messages"}}'


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_two_masters_of_a_machine_share_a_port_and_stop_in_order(
    run: Run,  # noqa: F811
    start: Start,  # noqa: F811
    store: Store,
    tmp_path: Path,
) -> None:
    port = str(free_port())
    own = {
        "dramatiq_prom_host": "127.0.0.1",
        "dramatiq_prom_port": port,
        "dramatiq_prom_db": str(tmp_path / "db"),
    }

    def served() -> str | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text
        except httpx.HTTPError:
            return None

    first = start("worker", DRAMATIQ_METRICS="true", **own)
    wait_for("the first serves", lambda: served() is not None)
    second = start("worker", DRAMATIQ_METRICS="true", **own)
    wait_for("both are ready", lambda: len(listed(store, ProcessState.READY)) == 2)
    (tmp_path / "end").touch()
    for argument in (str(tmp_path / "end"), str(tmp_path / "end"), ""):
        sent = run(
            *("send", "slow", "--args", json.dumps([argument])),
            ACTOR_MODULES="tests.support.slow_actors",
            PYTHONPATH=str(ROOT),
        )
        assert sent.returncode == 0, sent.stderr

    wait_for("all are counted", lambda: f"{NAME.format('messages_total')} 3.0\n" in (served() or ""))
    text = served() or ""
    assert f"{NAME.format('message_errors_total')} 1.0\n" in text
    assert f"{NAME.format('message_retries_total')} 1.0\n" in text
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    wait_for("what the first started is gone, its server too", lambda: not alive_in(first.pid))
    wait_for("the other serves", lambda: f"{NAME.format('messages_total')} 3.0\n" in (served() or ""))
    for _ in range(2):
        os.killpg(second.pid, signal.SIGTERM)
    assert second.wait(PATIENCE) == 0
    assert served() is None


def alive_in(group: int) -> list[int]:
    """The processes of a process group that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(entry.name))
    return found

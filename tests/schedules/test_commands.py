"""``lockstep schedules`` as a person types it, and what a scheduler says that cannot start."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.schedulers import Process, Ticks
from tests.support.waiting import PATIENCE, wait_for

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(settings: Settings, ticks: Ticks, tmp_path: Path) -> Run:
    def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            "REDIS_URL": settings.redis_url,
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "ACTOR_MODULES": "tests.support.periodic_actors",
            "TEST_CRON": ticks.cron(30),
            "PYTHONPATH": str(Path.cwd()),
            "COLUMNS": "200",
            **changes,
        }
        command = [sys.executable, "-c", "from lockstep.cli import main; main()", *arguments]
        return subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


def test_schedules_are_listed(run: Run, start: Callable[..., Process], ticks: Ticks) -> None:
    assert run("schedules").stdout == (
        "No scheduler has declared a periodic actor.\nNo scheduler is alive.\n"
    )
    scheduler = start(ticks.cron(30))
    wait_for("it runs", ticks.schedulers)

    shown = run("schedules").stdout
    listed = json.loads(run("schedules", "--json").stdout)

    assert all(
        text in shown for text in ("tick.all", "tick.last", "tick.skip", ticks.cron(30), "alive", "ago")
    )
    assert [(one["name"], one["catch_up"], one["alive"]) for one in listed["items"]] == [
        ("tick.all", "all", True),
        ("tick.last", "last", True),
        ("tick.skip", "skip", True),
    ]
    assert len(listed["schedulers"]) == 1
    scheduler.stop()
    after = json.loads(run("schedules", "--json").stdout)
    assert [one["alive"] for one in after["items"]] == [False] * 3
    assert after["schedulers"] == []
    assert "No scheduler is alive." in run("schedules").stdout


def test_run_sends_it_now(run: Run, ticks: Ticks, store: Store) -> None:
    sent = json.loads(run("schedules", "run", "tick.skip", "--json").stdout)
    assert (sent["queue"], sent["state"]) == ("ticks", "waiting")
    assert store.message(sent["id"]).actor == "tick.skip"
    assert run("schedules", "run", "tick.all").stdout.endswith("  waiting\n")
    assert ticks.sent() == 2
    for name in ("nosuch", "messages.deliver"):
        ended = run("schedules", "run", name)
        assert (ended.returncode, ended.stderr) == (1, f"lockstep: no schedule '{name}'\n")


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("5/15 * * * *", "line 10: tick.skip: periodic: '5/15 * * * *': cron and periodiq read its minute"),
        ("0 0 30 2 *", "line 10: tick.skip: periodic: '0 0 30 2 *' is no cron expression"),
        (
            "0 0 * jan *",
            """periodic_actors.py, line 13: tick: periodic: periodiq cannot read '0 0 * jan *': its month 'jan'""",
        ),
    ],
)
def test_an_expression_that_cannot_be_kept_is_told_by_name(run: Run, cron: str, said: str) -> None:
    ended = run("scheduler", TEST_CRON=cron)
    assert ended.returncode == 2
    assert said in ended.stderr.replace("\n", " ")
    assert "Traceback" not in ended.stderr

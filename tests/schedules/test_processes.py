"""Real schedulers: one message a tick however many run, restarts, catch-up, and how they end."""

import json
import re
import signal
from pathlib import Path

import pytest

from lockstep.schedules import tick_id
from lockstep.states import MessageState
from lockstep.store import Store
from tests.support.fleet import ROOT
from tests.support.schedulers import HOUR, MINUTE, SOON, Declare, Start, Ticks, decided
from tests.support.waiting import PATIENCE, wait_for


@pytest.fixture
def last(ticks: Ticks) -> int:
    """The last tick of ``ticks.cron(30)``."""
    return (ticks.minute - 30) * MINUTE


def test_a_scheduler_that_was_down_over_five_ticks(
    start: Start, declare: Declare, ticks: Ticks, store: Store, last: int
) -> None:
    cron = ticks.cron(30)
    declare(cron, last - 5 * HOUR)

    second = start(cron)
    decided(ticks, last)
    second.stop()

    missed = [last - back * HOUR for back in (4, 3, 2, 1, 0)]
    fired = {"tick.all": missed, "tick.last": [last], "tick.skip": []}
    assert ticks.sent() == 6
    for actor, expected in fired.items():
        ids = [tick_id(actor, tick) for tick in expected]
        sequences = [store.message(one).sequence for one in ids]
        assert sequences == sorted(sequences)
        record = ticks.record(actor)
        assert (record.tick_ms, record.message_id) == ((last, ids[-1]) if ids else (None, None))
    assert second.text.count('"schedule.fired"') == 6
    assert second.text.count('"schedule.skipped"') == 2  # one of five for skip, one of four for last


@pytest.mark.parametrize("number", [2, 3])
def test_one_message_a_tick_however_many_run(
    start: Start, declare: Declare, ticks: Ticks, last: int, number: int
) -> None:
    cron = ticks.cron(30)
    declare(cron, last - 5 * HOUR)

    running = [start(cron) for _ in range(number)]
    decided(ticks, last)
    wait_for("all run", lambda: len(ticks.schedulers()) == number)

    assert ticks.sent() == 6
    assert ticks.duplicates() == 0  # nor was anything sent twice
    assert sum(one.text.count('"schedule.fired"') for one in running) == 6
    assert [one.stop()[0] for one in running] == [0] * number
    assert ticks.schedulers() == {}


def test_a_restart_within_the_minute_fires_nothing_again(
    start: Start, declare: Declare, ticks: Ticks
) -> None:
    cron, tick = ticks.cron(0), ticks.minute * MINUTE
    declare(cron, tick - 1)

    first = start(cron)
    decided(ticks, tick)
    first.stop()
    sent = ticks.sent()
    second = start(cron)
    wait_for("it has looked", ticks.schedulers)
    second.stop()

    assert sent in (2, 3)  # a minute later it is late, and the policy of one is to skip it then
    assert (ticks.sent(), ticks.duplicates()) == (sent, 0)
    assert '"schedule.fired"' not in second.text


@pytest.mark.parametrize("skew", [120, -120])
def test_a_wrong_clock_changes_nothing(
    start: Start, declare: Declare, ticks: Ticks, store: Store, last: int, skew: int
) -> None:
    # By a clock that is fast, the second of them has come already.
    soon = f"{(ticks.minute - 30) % 60},{(ticks.minute + 2) % 60} * * * *"
    declare(soon, last - 1)

    wrong = start(soon, PYTHONPATH=f"{ROOT / 'tests/support/skew'}:{ROOT}", CLOCK_SKEW=str(skew))
    wait_for("it decides", lambda: ticks.record("tick.all").mark_ms >= last)
    wait_for("it has looked again", lambda: max(ticks.schedulers().values()) > 1500)
    wait_for("it has looked again", lambda: max(ticks.schedulers().values()) < 1000)

    assert ticks.record("tick.all").mark_ms == last
    assert ticks.sent() == 2  # of half an hour ago: skip has none
    assert wrong.stop()[0] == 0
    sent = json.loads(store.message(tick_id("tick.all", last)).payload)
    assert abs(sent["message_timestamp"] - ticks.now() - skew * 1000) < 30_000  # the clock was wrong indeed


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_in_order_and_soon(start: Start, ticks: Ticks, signum: int) -> None:
    one = start(ticks.cron(30))
    wait_for("it runs", ticks.schedulers)

    code, seconds = one.stop(signum)

    assert (code, seconds < SOON) == (0, True), one.text
    assert "scheduler.stopped" in one.text
    assert ticks.schedulers() == {}


def test_periodiqs_own_command_works_as_well(start: Start, ticks: Ticks) -> None:
    running = [
        start("* * * * *", "-c", "import periodiq; periodiq.entrypoint()", "actors", "-v") for _ in range(2)
    ]
    for one in running:
        one.wait_told("Scheduling", timeout=60 + PATIENCE)  # late in a minute, it waits for the next
    wait_for("both have sent all three", lambda: ticks.sent() and ticks.sent() + ticks.duplicates() >= 6)
    assert ticks.sent() in (3, 6)  # the second is one of the next minute
    for one in running:
        one.process.kill()


def test_the_heartbeat_goes_from_a_scheduler_to_a_worker(start: Start, ticks: Ticks, store: Store) -> None:
    on = {"SCHEDULE_HEARTBEAT": "true", "ACTOR_MODULES": ""}
    start("", **on)
    wait_for("it is declared", lambda: ticks.record("lockstep.heartbeat"))
    tick = (ticks.minute - 2) * MINUTE
    assert ticks.patch("lockstep.heartbeat", mark=tick)
    wait_for("it is sent", lambda: ticks.record("lockstep.heartbeat").message_id)

    start("", "-m", "dramatiq", "actors", "-p", "1", "-t", "1", "--skip-logging", **on)

    message_id = ticks.record("lockstep.heartbeat").message_id
    wait_for("it ran", lambda: store.message(message_id).state is MessageState.DONE)


def test_without_the_setting_there_is_no_heartbeat(start: Start, ticks: Ticks) -> None:
    one = start("", ACTOR_MODULES="")
    wait_for("it runs", ticks.schedulers)  # without any schedule it waits
    assert ticks.record("lockstep.heartbeat") is None
    assert one.stop()[0] == 0


def test_the_example_of_the_manual(start: Start, ticks: Ticks, tmp_path: Path) -> None:
    page = Path("docs/schedules.md").read_text()
    module, code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```\n(daily_report at.*?)```", page, re.DOTALL)
    (tmp_path / "reports.py").write_text(module)
    start("", ACTOR_MODULES="reports", PYTHONPATH=str(tmp_path))
    wait_for("it is declared", lambda: ticks.record("daily_report"))

    example = start("", "-c", code, ACTOR_MODULES="")

    assert example.process.wait(PATIENCE) == 0
    assert example.text == shown
    assert "periodic:daily_report:2026-11-25T06:00Z" in page
    assert tick_id("daily_report", 1795586400000) == "periodic:daily_report:2026-11-25T06:00Z"

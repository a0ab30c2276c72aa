"""Rolling reloads, as a deployment does them: real supervisord, real Redis, real releases, clients that go on.

The tests share one fleet and run in their order.
"""

import fcntl
import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.settings import Settings
from lockstep.store import Store
from tests.ops.home import make_release, switch
from tests.ops.supervised import Supervised, parsed
from tests.ops.traffic import ACTOR, Runs, Traffic
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, wait_for

SETTINGS = {
    "ACTOR_MODULES": "numbered",
    "WORKER_PROCESSES": "1",
    "WORKER_CONCURRENCY": "4",
    "WORKER_SHUTDOWN_TIMEOUT": "5s",
    "WEB_DRAIN_SECONDS": "2s",
    "LEASE_SECONDS": "3",
    "READY_TIMEOUT": "300s",  # the machine may have much else to do
}
PROCESSES = ["worker-0", "worker-1", "scheduler-0", "scheduler-1", "web-0", "web-1", "listener"]


class Fleet(Supervised):
    """A home with releases `one` and `two`, and everything that runs in it."""

    def __init__(self, settings: Settings, home: Path, store: Store) -> None:
        self.store = store
        (home / "numbered.py").write_text(ACTOR)
        for name in ("one", "two"):
            make_release(home, name)
        make_release(home, "broken", breaks="raise RuntimeError('this release is broken')")
        make_release(home, "silent", breaks="import time; time.sleep(1000)")
        switch(home, "one")
        super().__init__(settings, home, **SETTINGS)
        self.wait_up(store)

    def versions(self) -> dict[str, set[str]]:
        """The releases of each type of process, as they say themselves."""
        found: dict[str, set[str]] = {}
        for record in self.store.processes.listing():
            found.setdefault(record.type, set()).add(record.version)
        return found

    def all_of(self, version: str) -> bool:
        return self.versions() == {kind: {version} for kind in ("web", "worker", "scheduler")}

    def wait_for_release(self, version: str) -> None:
        wait_for(f"everything is {version}", lambda: self.all_of(version))

    def done(self, message_id: str) -> bool:
        return self.store.message(message_id).state == "done"

    def runs(self) -> Runs:
        return Runs.read(self.directory / "runs")


@pytest.fixture(scope="module")
def fleet(redis_url: str) -> Iterator[Fleet]:
    settings = Settings.load(
        {"REDIS_URL": redis_url, "QUEUE_NAMESPACE": f"t{secrets.token_hex(6)}"}, env_file=""
    )
    store = Store.connect(settings)
    with tempfile.TemporaryDirectory(prefix="lockstep-") as directory:
        fleet = Fleet(settings, Path(directory).resolve(), store)
        yield fleet
        fleet.clear()
    store.close()


def test_three_reloads_under_load_lose_nothing(fleet: Fleet) -> None:
    with Traffic(fleet.port) as traffic:
        wait_for("traffic", lambda: traffic.tally.answers > 20)
        for release in ("two", "one", "two"):
            switch(fleet.directory, release)
            view = parsed(fleet.run("reload", "--json"))
            assert [step["process"] for step in view["items"]] == PROCESSES
            assert {step["version"] for step in view["items"]} == {release, ""}, (
                view
            )  # the listener says none
            assert not any(step["killed"] or step["problem"] for step in view["items"]), view
            assert all(step["released"] is not None for step in view["items"] if "worker" in step["process"])
            assert traffic.tally.failures == []
            fleet.wait_for_release(release)

    tally = traffic.tally
    assert tally.failures == []
    assert tally.answers > 500
    assert tally.streams >= 2  # it was sent away, and came again
    assert tally.events > tally.streams
    total = sum(tally.sent.values())
    wait_for("all is done", lambda: fleet.runs().total >= total)
    runs = fleet.runs()
    # None lost, none doubled, each group in its order.
    assert runs.numbers == {group: list(range(1, count + 1)) for group, count in tally.sent.items()}
    assert runs.longest_wait < 5
    print(f"{tally.answers} requests, longest wait {runs.longest_wait:.3f} s, {tally.streams} streams")


@pytest.mark.parametrize(
    ("release", "kinds", "first", "says"),
    [
        ("broken", [], "worker-0", "it ended while it was starting"),
        ("silent", ["web"], "web-0", "not ready within 2 s: it has not said anything of itself in Redis"),
    ],
)
def test_a_release_that_does_not_become_ready_stops_at_its_first_process(
    fleet: Fleet, release: str, kinds: list[str], first: str, says: str
) -> None:
    before = fleet.pids()
    switch(fleet.directory, release)

    failed = fleet.run("reload", *kinds, "--json", **({"READY_TIMEOUT": "2s"} if release == "silent" else {}))

    assert failed.returncode == 3, failed.stdout + failed.stderr
    assert f"stopped at {first}: {says}" in failed.stderr
    if release == "broken":
        assert "RuntimeError: this release is broken" in failed.stderr  # the end of its log
    after = fleet.pids()
    assert after.pop(first) == 0
    assert after == {name: pid for name, pid in before.items() if name != first}
    message = {"actor": "number", "kwargs": {"group": f"beside-{release}", "n": 1, "sent": time.time()}}
    message_id = fleet.send(message)
    wait_for("others serve on", lambda: fleet.done(message_id))

    # Back to the former: what was stopped is started, the rest is reloaded.
    switch(fleet.directory, "two")
    kind = first.partition("-")[0]
    view = parsed(fleet.run("reload", kind, "--json"))
    ran = [(step["process"], step["drain_seconds"] is not None) for step in view["items"]]
    assert ran == [(first, False), (f"{kind}-1", True)]
    assert fleet.versions()[kind] == {"two"}


def test_a_reload_needs_redis_and_the_right_to_change_things(fleet: Fleet) -> None:
    before = fleet.pids()

    away = fleet.run("reload", REDIS_URL="redis://127.0.0.1:1/0")
    with (fleet.data / "change.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second, scale = fleet.run("reload"), fleet.run("scale", "worker", "3")

    assert (away.returncode, second.returncode, scale.returncode) == (4, 5, 5)
    assert "runs on this machine already" in second.stderr
    assert fleet.pids() == before
    elsewhere = fleet.run("reload", DATA_DIR="elsewhere")
    assert (elsewhere.returncode, "no supervisord answers" in elsewhere.stderr) == (3, True)


def test_a_reload_that_is_interrupted_leaves_everything_running(fleet: Fleet) -> None:
    before = fleet.pids()
    reload = subprocess.Popen(
        [fleet.directory / "current" / ".venv" / "bin" / "lockstep", "reload", "scheduler"],
        cwd=fleet.directory,
        env=fleet.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with reload:
        wait_for("it is at its first", lambda: fleet.pids()["scheduler-0"] != before["scheduler-0"])
        reload.send_signal(signal.SIGINT)
        reload.send_signal(signal.SIGINT)
        assert reload.stderr
        told = reload.stderr.read()

    assert reload.returncode == 1
    assert "interrupted; everything runs. Not touched: scheduler-1." in told
    after = fleet.pids()
    assert after["scheduler-0"] not in {0, before["scheduler-0"]}
    assert after["scheduler-1"] == before["scheduler-1"]


def test_a_reload_that_loses_redis_half_way_goes_no_further(fleet: Fleet, redis_url: str) -> None:
    before = fleet.pids()
    proxy = Proxy(int(redis_url.rpartition(":")[2].partition("/")[0]))
    try:
        reload = subprocess.Popen(
            [fleet.directory / "current" / ".venv" / "bin" / "lockstep", "reload", "scheduler", "--json"],
            cwd=fleet.directory,
            env={**fleet.environment, "REDIS_URL": proxy.url, "READY_TIMEOUT": "2s"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        wait_for("it is at its first", lambda: fleet.pids()["scheduler-0"] != before["scheduler-0"])
        proxy.cut(reset=True)
        view = json.loads(reload.communicate(timeout=PATIENCE)[0])
    finally:
        proxy.close()

    assert reload.returncode == 3
    assert "Redis does not answer" in view["items"][-1]["problem"]
    after = fleet.pids()
    if view["failed"] == "scheduler-0":
        assert (after["scheduler-0"], after["scheduler-1"]) == (0, before["scheduler-1"])
    else:  # it was ready just before, and the next has not been touched, or could not be seen to be ready
        assert after["scheduler-0"]
    parsed(fleet.run("reload", "scheduler", "--json"))
    assert all(fleet.pids().values())


def test_workers_are_scaled_beside_others(fleet: Fleet) -> None:
    before = fleet.pids()

    view = parsed(fleet.run("scale", "worker", "4", "--json"))

    assert view["started"] == ["worker-2", "worker-3"]
    assert [one["process"] for one in view["items"]] == ["worker-0", "worker-1", "worker-2", "worker-3"]
    grown = fleet.pids()
    assert {name: grown[name] for name in before} == before  # nobody else was touched
    instances = {record.instance for record in fleet.store.processes.listing() if record.type == "worker"}
    assert len(instances) == 4

    view = parsed(fleet.run("scale", "worker", "1", "--json"))
    assert view["stopped"] == ["worker-1", "worker-2", "worker-3"]
    view = parsed(fleet.run("reload", "worker", "--json"))
    assert [step["process"] for step in view["items"]] == ["worker-0"]  # it does not start those

    assert parsed(fleet.run("scale", "worker", "3", "--json"))["started"] == ["worker-1", "worker-2"]
    for wrong in (["scale", "worker", "-1"], ["scale", "worker", "many"], ["scale", "web", "3"]):
        assert fleet.run(*wrong).returncode == 2


def test_everything_told_to_stop_twice_ends_in_order_and_comes_back(fleet: Fleet) -> None:
    done = fleet.runs().total
    with Traffic(fleet.port) as traffic:
        wait_for("traffic", lambda: traffic.tally.answers > 20)
    sent = sum(traffic.tally.sent.values())
    relatives = fleet.relatives()

    for _ in range(2):  # as a platform does that signals a whole group
        for pid in relatives:
            _signal(pid, signal.SIGTERM)

    assert fleet.process.wait(PATIENCE) == 0, fleet.text()
    assert fleet.relatives() == []
    assert "SIGKILL" not in fleet.text()

    fleet.start()  # what was scaled is there again
    fleet.wait_up(fleet.store)
    assert sorted(one.name for one in fleet.programs("worker")) == ["worker-0", "worker-1", "worker-2"]
    wait_for("nothing is lost", lambda: fleet.runs().total == done + sent)
    assert fleet.end() == 0


def _signal(pid: int, signum: int) -> Any:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return

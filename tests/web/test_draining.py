"""How a web process stops: real processes, and the clients that they have meanwhile."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.waiting import PATIENCE, wait_for
from tests.web.client import Client, assert_problem
from tests.web.wire import Wire

ROOT = Path(__file__).parents[2]
MESSAGE = {"actor": "messages.deliver", "kwargs": {"instance_id": "i", "customer_id": "c", "body": "b"}}

#: A process of ours, and the application under plain uvicorn, which ends by the signal that it got.
PROGRAMS = {
    "lockstep": ("import sys; from lockstep.cli import main; sys.argv[1:] = ['web']; main()", 0),
    "uvicorn": (
        "import os, uvicorn; uvicorn.run('web.app:build', factory=True, port=int(os.environ['PORT']))",
        -signal.SIGTERM,
    ),
}
#: A process of ours that waits for longer than a slow test.
PATIENT = """
import sys, web.server
web.server.EXPECTED_SECONDS = 30
from lockstep.cli import main
sys.argv[1:] = ['web']
main()
"""

Start = Callable[..., tuple["subprocess.Popen[bytes]", httpx.Client]]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    started: list[tuple[subprocess.Popen[bytes], httpx.Client]] = []

    def go(program: str = "lockstep", **environment: str) -> "tuple[subprocess.Popen[bytes], httpx.Client]":
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        own = {
            "REDIS_URL": settings.redis_url or "",
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "PORT": str(port),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAMS.get(program, (program, 0))[0]],
            cwd=ROOT,
            env={**os.environ, **own, **environment},
        )
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE)
        started.append((process, http))
        return process, http

    yield go
    for process, http in started:
        http.close()
        process.kill()
        process.wait()


def status(http: httpx.Client, path: str) -> int:
    """Of a connection of its own; 0: there is none."""
    try:
        return httpx.get(str(http.base_url.join(path)), trust_env=False, timeout=PATIENCE).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_serves_on_closes_connections_and_ends_streams(
    start: Start, settings: Settings, program: str
) -> None:
    process, http = start(program, WEB_DRAIN_SECONDS="4")
    with closing(Store.connect(settings)) as store:

        def record() -> ProcessRecord | None:
            return next(iter(store.processes.listing()), None)

        def is_now(state: ProcessState) -> bool:
            one = record()
            return one is not None and one.state is state

        wait_for("it is ready", lambda: is_now(ProcessState.READY))
        one = record()
        assert one
        assert (one.type, one.pid, one.master_pid) == (ProcessType.WEB, process.pid, process.pid)
        assert (status(http, "/readyz"), "connection" in http.get("/livez").headers) == (200, False)
        with (
            Wire(http.base_url.port or 0) as kept,
            http.stream("GET", "/api/v1/events") as events,
        ):
            lines = events.iter_lines()
            next(lines)
            kept.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert kept.answer()[0] == 200  # this connection is kept
            process.send_signal(signal.SIGTERM)
            wait_for("it drains", lambda: is_now(ProcessState.DRAINING))
            kept.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert kept.answer()[0] == 200
            assert kept.answer() == (0, b"")  # now it was closed after its answer
            refused = http.get("/readyz")
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert_problem(refused)
            assert "draining" in refused.json()["detail"]
            sent = http.post("/api/v1/messages", json=MESSAGE)
            assert (sent.status_code, sent.headers["connection"]) == (202, "close")
            assert http.get("/nowhere").headers["connection"] == "close"
            process.send_signal(signal.SIGTERM)  # means nothing new
            assert list(lines)  # to its end, which is that of the answer
        assert process.wait(PATIENCE) == PROGRAMS[program][1]
        assert record() is None  # it withdrew


def test_the_signal_may_come_at_any_time_and_any_number_of_times(start: Start) -> None:
    process, http = start(WEB_DRAIN_SECONDS="0")
    wait_for("it serves", lambda: status(http, "/livez") == 200)
    sent = 0
    while process.poll() is None:  # until it has ended: each moment of its stop has one
        process.send_signal(signal.SIGTERM)
        sent += 1
    assert (process.returncode, sent > 10) == (0, True)


def test_a_client_that_had_connected_is_heard(start: Start) -> None:
    process, http = start(PATIENT, WEB_DRAIN_SECONDS="0")
    wait_for("it serves", lambda: status(http, "/livez") == 200)
    with Wire(http.base_url.port or 0) as new, Wire(http.base_url.port or 0) as begun:
        begun.send(b"GET /livez HTTP/1.1\r\nHost:")
        process.send_signal(signal.SIGTERM)
        wait_for("it listens no more", lambda: status(http, "/livez") == 0)
        new.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert new.answer()[0] == 200
        assert new.answer() == (0, b"")
        begun.send(b" localhost\r\n\r\n")
        assert begun.answer()[0] == 200
    assert process.wait(PATIENCE) == 0


def test_an_answer_that_passes_no_middleware_closes_its_connection_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError

    context = client.app.state.context
    monkeypatch.setattr(context.broker.store, "redis_memory", broken)
    assert "connection" not in client.get("/metrics").headers
    context.draining.begun = True
    answer = client.get("/metrics")
    assert (answer.status_code, answer.headers["connection"]) == (500, "close")


def test_workers_and_processes_are_listed(client: Client) -> None:
    store = client.app.state.context.broker.store
    common = {
        "instance": "shop-1", "host": "shop", "master_pid": 6, "boot": "b", "version": "42", "started_ms": 0,
        "state": ProcessState.READY,
    }  # fmt: skip
    store.processes.report(
        ProcessRecord(
            **common,
            name="shop-1:7:ab",
            type=ProcessType.WORKER,
            role="all",
            pid=7,
            busy=3,
            capacity=8,
            memory_bytes=4096,
            queues=("mail",),
            done=5,
        )
    )
    store.processes.report(ProcessRecord(**common, name="s", type=ProcessType.SCHEDULER, pid=6))
    (worker,) = client.get("/api/v1/workers").json()["items"]
    assert 0 <= worker.pop("seen_seconds") < PATIENCE
    assert worker == {
        "name": "shop-1:7:ab", "type": "worker", "role": "all", "instance": "shop-1", "host": "shop", "pid": 7,
        "master_pid": 6, "boot": "b", "version": "42", "state": "ready", "queues": ["mail"], "busy": 3, "capacity": 8,
        "done": 5, "memory_bytes": 4096, "started_at": "1970-01-01T00:00:00.000Z",
    }  # fmt: skip
    listed = client.get("/api/v1/processes").json()["items"]
    assert [one["name"] for one in listed] == ["s", "shop-1:7:ab"]

"""The web process as it is deployed: how it starts, stops, and refuses to start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from lockstep.settings import Settings
from tests.support.waiting import PATIENCE
from tests.web.wire import HEAD, Wire

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from lockstep.settings import Settings
from web.server import run
sys.exit(run(Settings.load()))
"""
#: The same, on a machine that gives it no threads.
NO_THREADS = """
import threading
def refuse(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
"""
#: The same, with an error tracker that reads each body before its endpoint does.
TRACKED = """
import sentry_sdk, web.body
sentry_sdk.init()
web.body.BODY_SECONDS = 0.4
"""
MAIL = b'{"actor": "messages.deliver", "kwargs": {"instance_id": "i", "customer_id": "c", "body": "b"}}'

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def go(program: str = PROGRAM, **environment: str) -> "subprocess.Popen[str]":
        own = {
            "REDIS_URL": settings.redis_url or "",
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "LOG_FORMAT": "json",
            "PORT": "0",
            "WEB_DRAIN_SECONDS": "0",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, **own, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stderr
    for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "web.started":
            return int(event["port"])
    raise AssertionError(f"it ended with {process.wait(PATIENCE)}")


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM] * 2, [signal.SIGINT] * 3]
)
def test_a_signal_lets_it_finish_what_is_in_work(start: Start, signals: list[int]) -> None:
    process = start()
    port = port_of(process)
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(MAIL))
        assert wire.answer()[0] == 100  # the handler waits for the body
        for number in signals:
            process.send_signal(number)
        wait_until_closed(port)
        wire.send(MAIL)
        assert wire.answer()[0] == 202
    assert process.wait(PATIENCE) == 0
    assert process.stderr
    assert json.loads(process.stderr.read().splitlines()[-1])["event"] == "web.stopped"


def wait_until_closed(port: int) -> None:
    """Return when nobody listens any more: a connection is refused, or reset while it waits."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as probe:
                probe.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                probe.recv(1)
        except OSError:
            return
    raise AssertionError("it still listens")


def test_it_serves_before_redis_is_there(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    process = start(REDIS_URL=f"redis://127.0.0.1:{port}/0")
    with httpx.Client(base_url=f"http://127.0.0.1:{port_of(process)}", trust_env=False) as http:
        assert http.get("/livez").status_code == 200
        assert http.get("/readyz").status_code == 503


def test_a_port_in_use_ends_it(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(PORT=str(taken.getsockname()[1]))
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert json.loads(errors.splitlines()[-1])["event"] == "web.failed"


def test_an_application_that_does_not_start_ends_it(start: Start) -> None:
    process = start(NO_THREADS + PROGRAM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert "can't start new thread" in "".join(events)
    assert events[-1] == "web.failed"


def test_a_body_that_does_not_end_is_cut_off_also_where_an_error_tracker_reads_it(start: Start) -> None:
    port = port_of(start(TRACKED + PROGRAM))
    for size in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        with Wire(port) as wire:
            wire.send(HEAD + size + b"\r\n\r\n" + (b"{" if b"100" in size else b"1\r\n{\r\n"))
            assert wire.answer()[0] == 408
            assert wire.answer() == (0, b"")
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(MAIL) + MAIL)
        assert wire.answer()[0] == 202


def test_it_refuses_to_serve_everybody_without_keys(start: Start) -> None:
    process = start(HOST="0.0.0.0")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "set API_KEYS" in errors

"""Who dies under supervisord is told: with a real receiver, and without one that works."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lockstep.notices import notify
from lockstep.settings import Settings
from tests.ops.supervised import Supervised
from tests.support.broken import broken_later
from tests.support.waiting import PATIENCE, wait_for


class Receiver:
    """Takes notices over HTTP, as Apprise's `json://` sends them."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notices.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.dsn = f"json://127.0.0.1:{self._server.server_address[1]}"

    def titles(self) -> list[str]:
        return [notice["title"] for notice in self.notices]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_deaths_are_told(settings: Settings, tmp_path: Path, receiver: Receiver) -> None:
    all_ = Supervised(
        settings,
        tmp_path,
        NOTIFICATION_DSN=receiver.dsn,
        WEB_PROCESSES="1",
        WORKER_MASTERS="0",
        **broken_later(tmp_path),
    )
    try:
        wait_for("supervisord", all_.control.alive)
        # Before that its end is a failed start, which is not worth a notice yet.
        wait_for("they run", lambda: all(p.state == "RUNNING" for p in all_.programs()))

        os.kill(all_.pids()["scheduler-1"], signal.SIGKILL)

        told = "scheduler-1 ended unexpectedly and is started again"
        wait_for("a notice", lambda: told in receiver.titles())
        assert receiver.notices[0]["message"].endswith("/data/supervisor/scheduler-1.log")

        (tmp_path / "broken").touch()
        os.kill(all_.pids()["web-0"], signal.SIGKILL)

        told = "web-0 was given up: it ends each time it is started"
        wait_for("a notice", lambda: told in receiver.titles())
        assert all_.end() == 0
        # That programs stopped when they were told to is no news.
        assert not [title for title in receiver.titles() if "scheduler-0" in title]
    finally:
        all_.clear()


class Listener:
    """`lockstep listener` with supervisord's part played by the test."""

    def __init__(self, **environment: str) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from lockstep.cli import main; main()", "listener"],
            env={**inherited, "LOG_FORMAT": "json", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, event: str, body: str) -> None:
        """One event; returns when it is answered."""
        assert self.process.stdin and self.process.stdout
        assert self.process.stdout.readline() == "READY\n"
        self.process.stdin.write(f"ver:3.0 eventname:{event} len:{len(body)}\n{body}")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "RESULT 2\n"
        assert self.process.stdout.read(2) == "OK"

    def end(self) -> list[dict[str, Any]]:
        """What it logged; supervisord has gone."""
        assert self.process.stdin and self.process.stderr
        self.process.stdin.close()
        lines = self.process.stderr.read().splitlines()
        assert self.process.wait(PATIENCE) == 0
        return [json.loads(line) for line in lines]


EXITED = "processname:worker-0 groupname:worker from_state:RUNNING expected:0 pid:7"


@pytest.fixture
def listener() -> Iterator[Callable[..., Listener]]:
    started: list[Listener] = []

    def start(**environment: str) -> Listener:
        started.append(Listener(**environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        for pipe in (one.process.stdin, one.process.stdout, one.process.stderr):
            assert pipe
            pipe.close()


def test_without_a_receiver_it_only_logs(listener: Callable[..., Listener]) -> None:
    one = listener()

    one.tell("PROCESS_STATE_EXITED", EXITED)
    one.tell("PROCESS_STATE_EXITED", EXITED.replace("expected:0", "expected:1"))
    one.tell("PROCESS_STATE_FATAL", "processname:web-1 groupname:web from_state:BACKOFF")

    lines = [(line["event"], line["program"]) for line in one.end()]
    assert lines == [("program.died", "worker-0"), ("program.died", "web-1")]


@pytest.mark.parametrize("broken", ["nobody", "silent", "nonsense"])
def test_a_receiver_that_fails_holds_nothing_up(listener: Callable[..., Listener], broken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        port = silent.getsockname()[1]
        if broken == "nobody":
            silent.close()
        one = listener(
            NOTIFICATION_DSN="what://is this" if broken == "nonsense" else f"json://127.0.0.1:{port}"
        )

        for _ in range(5):
            one.tell("PROCESS_STATE_EXITED", EXITED)
        logged = one.end()

    events = [line["event"] for line in logged]
    assert events.count("program.died") == 5
    assert events.count("notice.failed") + events.count("notice.dropped") >= 5  # each that was not sent


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # of a library of Apprise's
@pytest.mark.parametrize(
    "dsn",
    [
        "tok3n",
        "slakc://tok3n",
        "slack://tok3n",
        "discord://tok3n",
        "tgram://tok3n/1",
        "json://127.0.0.1:1/tok3n",
    ],
)
def test_no_part_of_a_url_is_logged(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    assert not notify(dsn, "title", "body")

    assert "not every URL is understood" in caplog.text or "a receiver did not take it" in caplog.text
    assert "tok3n" not in caplog.text

"""The promise as a user would try it: messages posted over HTTP, a receiver that fails, workers that are killed."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.support.posting import post_message
from tests.support.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
CONVERSATIONS, LENGTH, THREADS = 20, 10, 4
KILLS_AT = {4, 8}


class Receiver:
    """Accepts each message by its id; one in ten fails twice before. While its gate is shut, nobody is answered."""

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self.held = 0
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(receiver.take(self.headers["idempotency-key"], body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, key: str, message: dict[str, str]) -> int:
        n = int(message["body"])
        with self.lock:
            self.held += 1
        self.gate.wait(PATIENCE)
        with self.lock:
            self.held -= 1
            if n == 3 and self.refused[key] < 2:
                self.refused[key] += 1
                return 500
            seen = self.accepted[message["customer_id"]]
            if n not in seen:  # the same message again, after a kill: idempotent by its id
                seen.append(n)
            return 200


def start(stack: ExitStack, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        start_new_session=True,
    )

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)

    stack.callback(end)
    return process


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.faults
def test_each_conversation_arrives_whole_and_in_order(redis_url: str, stack: ExitStack) -> None:
    receiver, port = Receiver(), free_port()
    stack.callback(receiver.server.server_close)
    stack.callback(receiver.server.shutdown)
    environment = {
        "REDIS_URL": redis_url,
        "QUEUE_NAMESPACE": f"t{secrets.token_hex(6)}",
        "DELIVERY_URL": receiver.url,
        "LEASE_SECONDS": "2",
        "REAP_SECONDS": "0.3",
        "BACKOFF": "fixed:100ms",
        "PORT": str(port),
    }
    start(
        stack,
        ["uvicorn", "--factory", "web.app:build", "--port", str(port), "--log-level", "warning"],
        environment,
    )
    worker = ["dramatiq", "actors", "-p", "1", "-t", str(THREADS), "--skip-logging"]
    workers = [start(stack, worker, environment) for _ in range(2)]
    api = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE))
    wait_for("the web process is ready", lambda: ready(api))

    ids = []
    for n in range(LENGTH):
        if n in KILLS_AT:
            receiver.gate.clear()
        for conversation in range(CONVERSATIONS):
            kwargs = {
                "instance_id": "instance-123",
                "customer_id": f"customer-{conversation}",
                "body": str(n),
            }
            ids.append(post_message(api.post, "", {"actor": "messages.deliver", "kwargs": kwargs}))
        if n in KILLS_AT:
            wait_for("both workers are busy", lambda: receiver.held > THREADS)
            os.killpg(workers.pop(0).pid, signal.SIGKILL)
            receiver.gate.set()
            workers.append(start(stack, worker, environment))

    wait_for("all arrived", lambda: sum(map(len, receiver.accepted.values())) == CONVERSATIONS * LENGTH)
    assert dict(receiver.accepted) == {f"customer-{c}": list(range(LENGTH)) for c in range(CONVERSATIONS)}
    assert set(receiver.refused.values()) == {2}
    wait_for(
        "all are done",
        lambda: {api.get(f"/api/v1/messages/{i}").json()["state"] for i in ids} == {"done"},
        20,
    )


def ready(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False

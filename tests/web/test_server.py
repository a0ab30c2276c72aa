"""A real uvicorn on a real socket: what only shows on the wire."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.waiting import PATIENCE
from tests.web.client import Client, assert_problem
from tests.web.wire import HEAD, Wire
from web import body, protocol
from web.protocol import HEAD_BYTES
from web.server import listen, make_server

MAIL = b'{"actor": "mail.send", "kwargs": {"to": "a"}}'
DEADLINE = 0.4


@pytest.fixture
def port(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", DEADLINE)
    monkeypatch.setattr(body, "BODY_SECONDS", DEADLINE)
    listener = listen("127.0.0.1", 0)
    number: int = listener.getsockname()[1]
    server = make_server(client.app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield number
    # Tells a test that got no response from one whose server never served.
    serving = server.started and thread.is_alive()
    server.should_exit = True
    thread.join(PATIENCE)
    assert (serving, thread.is_alive()) == (True, False)


def test_messages_over_a_socket(port: int) -> None:
    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as http:
        sent = http.post("/api/v1/messages", content=MAIL, headers={"content-type": "application/json"})
        assert sent.status_code == 202
        assert "server" not in sent.headers
        assert http.get(sent.headers["location"]).json()["state"] == "waiting"
        assert_problem(http.get("/nowhere"))
        assert http.head("/livez").content == b""


@pytest.mark.parametrize(
    "request_line",
    [b"\x00\x01\x02\x03\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_http_is_a_problem(port: int, request_line: bytes) -> None:
    with Wire(port) as wire:
        wire.send(request_line)
        status, content = wire.answer()
        assert (status, json.loads(content)["status"]) == (400, 400)
        assert wire.answer() == (0, b"")


def test_dots_in_a_path_are_not_followed(port: int) -> None:
    with Wire(port) as wire:
        wire.send(b"GET /api/v1/messages/../queues HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.answer()[0] == 404


def test_two_lengths_are_refused(port: int) -> None:
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}")
        assert wire.answer()[0] == 400
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert wire.answer()[0] == 400


def test_a_broken_chunk_is_a_problem(port: int) -> None:
    with Wire(port) as wire:
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")
        status, content = wire.answer()
        assert (status, json.loads(content)["status"]) == (400, 400)


def test_an_endless_head_is_refused(port: int) -> None:
    with Wire(port) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (2 * HEAD_BYTES))
        assert wire.answer()[0] == 400


def test_after_a_refused_body_the_connection_goes_on(port: int) -> None:
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: 300000\r\n\r\n" + b" " * 300_000)
        assert wire.answer()[0] == 413
        wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.answer()[0] == 200


def test_a_body_that_was_announced_too_long_is_not_asked_for(port: int) -> None:
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: 300000\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer()[0] == 413


def test_a_head_that_does_not_end_is_cut_off(port: int) -> None:
    with Wire(port) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\n")
        started = time.monotonic()
        assert wire.answer() == (0, b"")
        assert time.monotonic() - started > DEADLINE / 2


def test_a_client_that_says_nothing_is_cut_off(port: int) -> None:
    with Wire(port) as wire:
        assert wire.answer() == (0, b"")


def test_a_second_head_that_does_not_end_is_cut_off(port: int) -> None:
    with Wire(port) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.answer()[0] == 200
        wire.send(b"GET /li")
        assert wire.answer() == (0, b"")


def test_a_body_that_does_not_end_is_408(port: int) -> None:
    with Wire(port) as wire:
        wire.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        status, content = wire.answer()
        assert (status, json.loads(content)["status"]) == (408, 408)
        assert wire.answer() == (0, b"")


def test_slow_clients_do_not_hold_up_others(port: int) -> None:
    slow = [Wire(port) for _ in range(200)]
    try:
        for wire in slow:
            wire.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        with Wire(port) as wire:
            wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.answer()[0] == 200
    finally:
        for wire in slow:
            wire.socket.close()

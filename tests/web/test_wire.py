"""HTTP/1.1 as unusual clients speak it: what RFC 9112 allows is served, everything else is a problem at once."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.waiting import PATIENCE
from tests.web.client import Client
from web.server import listen, make_server

MAIL: Final = b'{"actor": "mail.send", "kwargs": {"to": "a"}}'
HOST: Final = b"Host: localhost\r\n"
JSON: Final = b"Host: localhost\r\nContent-Type: application/json\r\n"
POST: Final = b"POST /api/v1/messages HTTP/1.1\r\n" + JSON
LENGTH: Final = b"Content-Length: %d\r\n" % len(MAIL)
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
GET: Final = b"GET /api/v1/queues HTTP/1.1\r\n" + HOST


@pytest.fixture
def port(client: Client) -> Iterator[int]:
    listener = listen("127.0.0.1", 0)
    number: int = listener.getsockname()[1]
    server = make_server(client.app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield number
    server.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive()


def chunks(*parts: bytes, extension: bytes = b"", trailer: bytes = b"", size: str = "x") -> bytes:
    sent = [b"%s%s\r\n%s\r\n" % (format(len(part), size).encode(), extension, part) for part in parts]
    return b"".join(sent) + b"0%s\r\n%s\r\n" % (extension, trailer)


LEGAL: Final[dict[str, tuple[bytes, list[int]]]] = {
    "absolute form": (b"GET http://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "absolute form with a port": (b"GET http://127.0.0.1:80/livez HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "absolute form in capitals": (b"GET HTTP://LOCALHOST/livez HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "absolute form over TLS": (b"GET https://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "absolute form without a path": (b"GET http://localhost HTTP/1.1\r\n" + HOST + b"\r\n", [404]),
    "absolute form with only a query": (b"GET http://localhost?a=1 HTTP/1.1\r\n" + HOST + b"\r\n", [404]),
    "absolute form with a query": (
        b"GET http://localhost/api/v1/messages?limit=1 HTTP/1.1\r\n" + HOST + b"\r\n",
        [200],
    ),
    "absolute form before another Host": (
        b"GET http://localhost/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        [200],
    ),
    "absolute form of another host": (b"GET http://evil.example/livez HTTP/1.1\r\n" + HOST + b"\r\n", [403]),
    "absolute form of a message": (
        b"POST http://localhost/api/v1/messages HTTP/1.1\r\n" + JSON + LENGTH + b"\r\n" + MAIL,
        [202],
    ),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", [204]),
    "asterisk form with a host": (b"OPTIONS http://localhost HTTP/1.1\r\n" + HOST + b"\r\n", [204]),
    "a host that is an address": (b"GET http://[::1]:80/livez HTTP/1.1\r\nHost: [::1]\r\n\r\n", [200]),
    "authority form": (b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n", [405]),
    "letters that are encoded": (b"GET /%6CiVez HTTP/1.1\r\n".replace(b"V", b"v") + HOST + b"\r\n", [200]),
    "a path that is encoded": (b"GET /%61pi/v1/%71ueues HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "an empty query": (b"GET /livez? HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "a question mark in the query": (b"GET /livez??a?=/ HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "an empty line before": (b"\r\n" + GET + b"\r\n", [200]),
    "many empty lines before": (b"\r\n" * 20 + GET + b"\r\n", [200]),
    "an empty line after a body": (POST + LENGTH + b"\r\n" + MAIL + b"\r\n" + GET + b"\r\n", [202, 200]),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\n" + HOST + b"\r\n", [200]),
    "HTTP/1.0 without Host": (b"GET /api/v1/queues HTTP/1.0\r\n\r\n", [200]),
    "HTTP/1.0 that keeps alive": (b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [200]),
    "HTTP/1.0 that closes": (b"GET /livez HTTP/1.0\r\nConnection: close\r\n\r\n", [200]),
    "HTTP/1.0 with a body": (b"POST /api/v1/messages HTTP/1.0\r\n" + JSON + LENGTH + b"\r\n" + MAIL, [202]),
    "HTTP/1.0 with HEAD": (b"HEAD /livez HTTP/1.0\r\n\r\n", [200]),
    "lines that end with LF": (GET.replace(b"\r\n", b"\n") + b"\n", [200]),
    "names in any case": (
        POST.replace(b"Content-Type", b"CONTENT-TYPE").replace(b"Host", b"hOST") + LENGTH.lower() + b"\r\n" + MAIL,
        [202],
    ),
    "blanks around a value": (b"GET /livez HTTP/1.1\r\nHost:   localhost \t\r\nA:\r\n\r\n", [200]),
    "a value beyond ASCII": (GET + b"X: \xe9\xff\r\n\r\n", [200]),
    "pipelining": (GET + b"\r\n" + POST + LENGTH + b"\r\n" + MAIL + GET + b"\r\n", [200, 202, 200]),
    "close among others": (GET + b"Connection: close, x\r\n\r\n" + GET + b"\r\n", [200]),
    "a connection option of its own": (GET + b"Connection: Foo\r\n\r\n" + GET + b"\r\n", [200, 200]),
    "an upgrade that is not wanted": (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", [200]),
    "a websocket": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", [200]),
    "chunks": (POST + CHUNKED + b"\r\n" + chunks(MAIL), [202]),
    "chunks of a byte": (POST + CHUNKED + b"\r\n" + chunks(*(bytes([one]) for one in MAIL)), [202]),
    "chunk sizes in capitals": (POST + CHUNKED + b"\r\n" + chunks(MAIL, size="08X"), [202]),
    "chunk extensions": (POST + CHUNKED + b"\r\n" + chunks(MAIL, extension=b';a=b;c="d"'), [202]),
    "trailers": (POST + b"Trailer: X-A\r\n" + CHUNKED + b"\r\n" + chunks(MAIL, trailer=b"X-A: b\r\n"), [202]),
    "chunked in capitals": (POST + b"Transfer-Encoding: CHUNKED\r\n\r\n" + chunks(MAIL), [202]),
    "the same length twice": (POST + LENGTH * 2 + b"\r\n" + MAIL, [202]),
    "a body of a GET": (GET + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n", [200, 200]),
    "a length of nothing": (GET + b"Content-Length: 0\r\n\r\n", [200]),
    "HTTP of a later minor version": (GET.replace(b"HTTP/1.1", b"HTTP/1.9") + b"\r\n", [200]),
}  # fmt: skip

ILLEGAL: Final[dict[str, bytes]] = {
    "asterisk of a GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority of a GET": b"GET localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no slash": b"GET livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "another scheme": b"GET ftp://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host in the absolute form": b"GET http:///livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a user in the absolute form": b"GET http://a@localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /livez#a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment in the absolute form": b"GET http://localhost/livez#a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank in the target": b"GET /li vez HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the target": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a folded line": GET + b"X: a\r\n b\r\n\r\n",
    "a folded line with a tab": GET + b"X: a\r\n\tb\r\n\r\n",
    "a blank before the colon": GET + b"X : a\r\n\r\n",
    "a blank before the first header": b"GET /livez HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": GET + HOST + b"\r\n",
    **{
        f"the host {host.decode()}": b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        for host in (b"a b", b"localhost/", b"a@localhost", b"[::1", b"localhost:x", b"a?b", b"<a>", b"%zz", b"a\\b")
    },
    "a lone CR": b"\rGET /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a zero byte": GET + b"X: a\x00b\r\n\r\n",
    "both lengths": POST + LENGTH + CHUNKED + b"\r\n" + chunks(MAIL),
    "chunks of HTTP/1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + chunks(MAIL),
    "two lengths": POST + b"Content-Length: 1, 2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length that is signed": POST + b"Content-Length: +3\r\n\r\n{}",
    "another transfer coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks(MAIL),
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunks(MAIL),
    "a chunk without a size": POST + CHUNKED + b"\r\n\r\n",
    "a chunk that is longer": POST + CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}  # fmt: skip


def exchange(port: int, data: bytes, *, close: bool = True, pieces: int = 0) -> bytes:
    """Everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), pieces or 65536):
            client.sendall(data[start : start + (pieces or 65536)])
        if close:
            client.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := client.recv(65536):
            found += chunk
    return found


def statuses(answer: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1.1 (\d{3}) ", answer)]


def test_unusual_requests_are_served(port: int) -> None:
    """Each over a connection whose client closes its side after the request, and waits."""
    found = {name: statuses(exchange(port, data)) for name, (data, _) in LEGAL.items()}
    assert found == {name: expected for name, (_, expected) in LEGAL.items()}


def test_unusual_requests_are_served_in_pieces(port: int) -> None:
    some = ("many empty lines before", "an empty line after a body", "absolute form of a message", "trailers")
    for name in some:
        data, expected = LEGAL[name]
        assert statuses(exchange(port, data, pieces=1)) == expected, name


def test_what_is_no_request_is_a_problem(port: int) -> None:
    for name, data in ILLEGAL.items():
        answer = exchange(port, data, close=False)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert statuses(answer) == [400], (name, answer)
        assert b"application/problem+json" in head, name
        assert json.loads(content)["status"] == 400, name


def test_a_request_that_a_client_breaks_off_is_a_problem(port: int) -> None:
    for data in (
        b"GET /livez HTTP/1.1\r\nHo",
        GET,
        POST + b"Content-Length: 100\r\n\r\n{",
        POST + CHUNKED + b"\r\n5\r\n{",
    ):
        answer = exchange(port, data)
        assert statuses(answer) == [400], (data, answer)
    assert exchange(port, b"") == b""


def test_expectations(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(POST + LENGTH + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(MAIL)
        client.shutdown(socket.SHUT_WR)
        assert statuses(client.recv(65536)) == [202]


def test_head_is_served_wherever_get_is(port: int, client: Client) -> None:
    client.post("/api/v1/messages", {"actor": "mail.send", "kwargs": {"to": "a"}, "id": "x", "group": "g"})
    paths = {
        route.path.replace("{queue:segment}", "mail")
        .replace("{group:segment}", "g")
        .replace("{id:segment}", "x")
        for route in client.app.routes
        if "GET" in route.methods  # type: ignore[attr-defined]
    }
    for path in sorted(paths):
        answer = exchange(port, b"HEAD %s HTTP/1.1\r\n%s\r\n" % (path.encode(), HOST))
        assert statuses(answer) == [200], path
        assert answer.endswith(b"\r\n\r\n"), path


def test_a_half_closed_client_gets_its_event_stream(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(b"GET /api/v1/events HTTP/1.1\r\n" + HOST + b"\r\n")
        client.shutdown(socket.SHUT_WR)
        found = b""
        while b"data:" not in found:
            chunk = client.recv(65536)
            assert chunk, found
            found += chunk

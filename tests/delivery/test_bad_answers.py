"""Receivers that answer whatever bytes they like: an attempt ends as delivered, or in a classified delivery error."""

import gzip
import socket
import threading
from collections.abc import Iterator

import dramatiq
import pytest

from actors.answers import MOST_RETRY_AFTER, DeliveryError, wait_ms
from actors.delivery import Deliverer, Outgoing
from lockstep.errors import InvalidSettings, Permanent
from lockstep.settings import Settings

OK = b"HTTP/1.1 200 OK\r\n"
MESSAGE = Outgoing(id="m-1", instance_id="acme", body=b"{}")


class Wire:
    """A listening socket that answers each request with the same bytes and then closes the connection."""

    def __init__(self) -> None:
        self.answer = b""
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:  # closed
                return
            with wire:
                wire.settimeout(10)
                try:
                    head = b""
                    while b"\r\n\r\n" not in head or not head.endswith(b"{}"):
                        head += wire.recv(65536) or b"\r\n\r\n{}"
                    self.requests += 1
                    wire.sendall(self.answer)
                except OSError:  # the client had enough of it
                    continue

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def deliverer(wire: Wire) -> Iterator[Deliverer]:
    deliverer = Deliverer(Settings(delivery_url=wire.url, delivery_timeout=5.0))
    yield deliverer
    deliverer.close()


DELIVERED = {
    "no length": OK + b"\r\nrest",
    "old version": b"HTTP/1.0 200 OK\r\n\r\nrest",
    "body shorter than its length": OK + b"Content-Length: 999\r\n\r\nshort",
    "chunks cut off": OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nshort",
    "chunk sizes that are none": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nshort",
    "a bomb": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(50_000_000), 1),
    "an encoding that is none": OK + b"Content-Encoding: nonsense\r\nContent-Length: 2\r\n\r\nxx",
    "broken compression": OK + b"Content-Encoding: gzip, br, zstd\r\nContent-Length: 2\r\n\r\nxx",
    "a charset that is none": OK
    + b"Content-Type: text/html; charset=\xff\xfe\r\nContent-Length: 1\r\n\r\n\xff",
    "header bytes": OK + b"X: \xff\xfe\x80\r\nContent-Length: 0\r\n\r\n",
    "cookies": OK
    + b"Set-Cookie: \xff=;;=;expires=Mon, 99 Foo 99999\r\nSet-Cookie: =\r\nContent-Length: 0\r\n\r\n",
    "informational before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
    + OK
    + b"\r\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "a date that is none": OK + b"Retry-After: soon\r\nContent-Length: 0\r\n\r\n",
    "a body where none may be": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
}
RETRIED = {
    "nothing": b"",
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a head cut off": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a huge header": OK + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "many headers": OK + b"X: x\r\n" * 50_000 + b"\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a length that is none": OK + b"Content-Length: -5\r\n\r\n",
    "a length beyond all": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "an invalid header name": OK + b"X Y\xff: z\r\n\r\n",
    "a NUL in a header": OK + b"X: a\x00b\r\n\r\n",
    "a status of letters": b"HTTP/1.1 OK OK\r\n\r\n",
    "a status of no class": b"HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n",
    "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "only informational": b"HTTP/1.1 100 Continue\r\n\r\n",
    "server error": b"HTTP/1.1 500 \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "proxy asks for credentials": b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    "no content to be modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "choices": b"HTTP/1.1 300 Choices\r\nContent-Length: 0\r\n\r\n",
    "see other": b"HTTP/1.1 303 See Other\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
}
#: Posted once each: there is nowhere to go.
REDIRECTS = {
    "no location": b"",
    "an empty location": b"Location: \r\n",
    "two locations": b"Location: /one\r\nLocation: /two\r\n",
    "no address": b"Location: http://[::1\r\n",
    "no port": b"Location: http://127.0.0.1:abc/\r\n",
    "bytes": b"Location: //\xff\xfe\x80:99999/\r\n",
    "another scheme": b"Location: file:///etc/passwd\r\n",
    "an internationalized host that is none": b"Location: http://xn--/\r\n",
    "another host in a long location": b"Location: //h/" + b"x" * 90_000 + b"\r\n",
}


@pytest.mark.parametrize("name", DELIVERED)
def test_the_status_counts_whatever_the_rest_is(wire: Wire, deliverer: Deliverer, name: str) -> None:
    wire.answer = DELIVERED[name]
    assert deliverer.deliver(MESSAGE)["delivered"] is True


@pytest.mark.parametrize("name", RETRIED)
def test_everything_else_is_tried_again(wire: Wire, deliverer: Deliverer, name: str) -> None:
    wire.answer = RETRIED[name]
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1:\d+ (did not answer|answered)"):
        deliverer.deliver(MESSAGE)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirect_to_nowhere_is_posted_once(
    wire: Wire, deliverer: Deliverer, name: str, status: int
) -> None:
    wire.answer = b"HTTP/1.1 %d Moved\r\n%sContent-Length: 0\r\n\r\n" % (status, REDIRECTS[name])
    before = wire.requests
    with pytest.raises(DeliveryError):
        deliverer.deliver(MESSAGE)
    assert wire.requests == before + 1


@pytest.mark.parametrize("location", [b"/hook", b"#there", b"http:///", b"/" + b"x" * 60_000, b"/\xff\xfe"])
def test_redirects_on_the_same_host_end(wire: Wire, deliverer: Deliverer, location: bytes) -> None:
    wire.answer = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
    before = wire.requests
    with pytest.raises(DeliveryError):
        deliverer.deliver(MESSAGE)
    assert wire.requests <= before + 4


@pytest.mark.parametrize(
    "value",
    [
        b"", b"soon", b"-5", b"1e9", b"\xff", b"9" * 4000, "٣".encode(), b"0", b"Mon", b"Mon, 99 Foo 2026 99:99:99 GMT",
        b"Fri, 31 Dec 9999 23:59:59 -2359", b"Mon, 01 Jan 0001 00:00:00 GMT", b"Mon, 01 Jan 0001 00:00:00 +2359",
        b"1 Jan 99999999999999999999 00:00 GMT", b"Sun, 06 Nov 1994 08:49:37", b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994", b",,,,", b"1 2 3 4 5 6 7", b"00:00:00", b"Mon, 01 Jan 2026 00:00:00 +99999999999",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_a_time_to_wait_of_any_form(wire: Wire, deliverer: Deliverer, status: int, value: bytes) -> None:
    wire.answer = b"HTTP/1.1 %d Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % (status, value)
    with pytest.raises((DeliveryError, dramatiq.Retry)) as raised:
        deliverer.deliver(MESSAGE)
    if isinstance(raised.value, dramatiq.Retry):
        assert raised.value.delay is not None
        assert 0 < raised.value.delay <= MOST_RETRY_AFTER * 1000


def test_waits_are_an_hour_at_most() -> None:
    assert wait_ms("9" * 4000) == wait_ms("Fri, 31 Dec 9999 23:59:59 GMT") == MOST_RETRY_AFTER * 1000


def test_a_refusal_for_good_stays_one(wire: Wire, deliverer: Deliverer) -> None:
    wire.answer = b"HTTP/1.1 404 \xff\r\nRetry-After: soon\r\nContent-Length: zzz\r\n\r\n"
    with pytest.raises(DeliveryError):  # its head is not HTTP
        deliverer.deliver(MESSAGE)
    wire.answer = b"HTTP/1.1 404 \xff\r\nRetry-After: soon\r\nContent-Length: 999\r\n\r\nx"
    with pytest.raises(Permanent, match="answered 404"):
        deliverer.deliver(MESSAGE)


BAD_ENVIRONMENTS = [
    ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY", "socksio"),
    ({"http_proxy": "ftp://127.0.0.1"}, "http_proxy", "ValueError"),
    ({"HTTPS_PROXY": "http://user:hid/den@h"}, "HTTPS_PROXY", "InvalidURL"),
    ({"NO_PROXY": "localhost,[::1]"}, "NO_PROXY", "without brackets"),
    ({"SSL_CERT_FILE": "/nosuch/ca.pem"}, "SSL_CERT_FILE", "No such file"),
]


@pytest.mark.parametrize(("environment", "name", "why"), BAD_ENVIRONMENTS)
def test_proxies_that_cannot_be_used_are_refused_at_start_and_no_internal_error(
    wire: Wire, monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str], name: str, why: str,
) -> None:  # fmt: skip
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    deliverer = Deliverer(Settings(delivery_url=wire.url, delivery_timeout=5.0))
    with pytest.raises(InvalidSettings) as refused:
        deliverer.check_environment()
    with pytest.raises(DeliveryError) as failed:  # by the command `dramatiq`, which does not ask
        deliverer.deliver(MESSAGE)

    assert str(refused.value).startswith(f"{name}: ")
    assert why in str(refused.value)
    assert "hid" not in str(refused.value) + str(failed.value)
    Deliverer(Settings()).check_environment()  # who delivers nothing needs no proxy


def test_an_environment_that_works_is_fine(deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,::1,.internal,10.0.0.0/8")
    deliverer.check_environment()

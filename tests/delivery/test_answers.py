"""What becomes of a message after each answer, or none."""

import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import IO

import pytest
from dramatiq import Retry

from actors.answers import DeliveryError, wait_ms
from actors.delivery import MOST_ANSWER_BYTES, Deliverer, Outgoing
from lockstep.errors import Permanent
from tests.delivery.receiver import Answer, Receiver

Make = Callable[..., Deliverer]
Message = Callable[..., Outgoing]
HOUR_MS = 3_600_000


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_is_success(status: int, make_deliverer: Make, outgoing: Message, receiver: Receiver) -> None:
    receiver.answers = [Answer(status, body=b"")]
    assert make_deliverer().deliver(outgoing())["status"] == status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422, 451, 499])
def test_most_4xx_are_permanent(
    status: int, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    # A Retry-After changes nothing: the receiver refused the message itself.
    receiver.answers = [Answer(status, {"retry-after": "1"})]
    with pytest.raises(Permanent, match=str(status)) as caught:
        make_deliverer().deliver(outgoing())
    assert caught.value.code == f"http_{status}"


@pytest.mark.parametrize("status", [304, 408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_the_rest_is_retried(
    status: int, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [Answer(status, body=b"")]
    with pytest.raises(DeliveryError, match=str(status)):
        make_deliverer().deliver(outgoing())


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(
    status: int, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [Answer(status, {"Retry-After": "7"})]
    with pytest.raises(Retry) as caught:
        make_deliverer().deliver(outgoing())
    assert caught.value.delay == 7_000


@pytest.mark.parametrize("status", [408, 500])
def test_retry_after_of_other_answers_is_not(
    status: int, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [Answer(status, {"Retry-After": "7"})]
    with pytest.raises(DeliveryError):
        make_deliverer().deliver(outgoing())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120_000),
        (" 1 ", 1_000),
        ("3601", HOUR_MS),
        ("9" * 5_000, HOUR_MS),
        ("Wed, 01 Jan 2200 00:00:00 GMT", HOUR_MS),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Wed, 99 Jan 2200 00:00:00 GMT", None),
    ],
)
def test_wait_ms_is_bounded_and_refuses_what_it_cannot_read(text: str | None, expected: int | None) -> None:
    assert wait_ms(text) == expected


@pytest.mark.parametrize("zone", [" GMT", " -0000", ""])
def test_wait_ms_reads_a_date(zone: str) -> None:
    date = formatdate(time.time() + 100).removesuffix(" -0000") + zone
    waited = wait_ms(date)
    assert waited is not None
    assert 98_000 < waited <= 100_000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_keeps_method_body_and_headers(
    status: int, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [
        Answer(status, {"Location": "/new?a=1"}),
        Answer(status, {"Location": f"http://{receiver.netloc}/newer"}),
    ]
    assert make_deliverer().deliver(outgoing())["delivered"] is True
    assert [request.path for request in receiver.received] == ["/hook", "/new?a=1", "/newer"]
    assert {request.method for request in receiver.received} == {"POST"}
    assert {request.body for request in receiver.received} == {outgoing().body}
    assert {request.headers["webhook-id"] for request in receiver.received} == {"m-1"}


@pytest.mark.parametrize("location", ["http://{other}/hook", "//{other}/hook", "https://{same}/hook"])
def test_a_redirect_to_another_host_is_not_followed(
    location: str,
    make_deliverer: Make,
    outgoing: Message,
    receiver: Receiver,
    other_receiver: Receiver,
) -> None:
    target = location.format(other=other_receiver.netloc, same=receiver.netloc)
    receiver.answers = [Answer(307, {"Location": target})]
    with pytest.raises(DeliveryError, match="another host"):
        make_deliverer().deliver(outgoing())
    assert other_receiver.received == []
    assert len(receiver.received) == 1


@pytest.mark.parametrize("location", ["http://[::bad/", "http://host:port/"])
def test_a_redirect_to_nonsense_is_an_error(
    location: str, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [Answer(307, {"Location": location})]
    with pytest.raises(DeliveryError, match="location"):
        make_deliverer().deliver(outgoing())


def test_a_303_which_would_drop_the_body_is_an_error(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [Answer(303, {"Location": "/seen"})]
    with pytest.raises(DeliveryError, match="303"):
        make_deliverer().deliver(outgoing())
    assert len(receiver.received) == 1


def test_a_loop_of_redirects_ends(make_deliverer: Make, outgoing: Message, receiver: Receiver) -> None:
    receiver.answers = [Answer(307, {"Location": "/hook"})] * 10
    with pytest.raises(DeliveryError, match="more than 3 times"):
        make_deliverer().deliver(outgoing())
    assert len(receiver.received) == 4


def test_a_refused_connection_is_retried(make_deliverer: Make, outgoing: Message) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening
        with pytest.raises(DeliveryError, match="ConnectError"):
            make_deliverer(delivery_url=f"http://127.0.0.1:{nobody.getsockname()[1]}/").deliver(outgoing())


def test_a_connection_that_never_opens_times_out(make_deliverer: Make, outgoing: Message) -> None:
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())  # fills the backlog; nobody accepts
        address = "http://{}:{}/".format(*full.getsockname())
        started = time.monotonic()
        with pytest.raises(DeliveryError, match="ConnectTimeout"):
            make_deliverer(delivery_url=address, delivery_timeout=0.3).deliver(outgoing())
        assert time.monotonic() - started > 0.25


def test_a_silent_receiver_times_out(make_deliverer: Make, outgoing: Message, receiver: Receiver) -> None:
    receiver.answers = [Answer(write=lambda stream: time.sleep(1))]
    started = time.monotonic()
    with pytest.raises(DeliveryError, match="ReadTimeout"):
        make_deliverer(delivery_timeout=0.3).deliver(outgoing())
    assert time.monotonic() - started > 0.25


def test_a_connection_closed_without_an_answer_is_retried(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    receiver.answers = [Answer(write=lambda stream: None)]
    with pytest.raises(DeliveryError, match="RemoteProtocolError"):
        make_deliverer().deliver(outgoing())


def test_an_answer_that_trickles_is_not_waited_for(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    def trickle(stream: IO[bytes]) -> None:
        stream.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(600):
            stream.write(b".")
            stream.flush()
            time.sleep(0.05)

    receiver.answers = [Answer(write=trickle)]
    started = time.monotonic()
    # The status says that the message was taken, whatever comes after it.
    assert make_deliverer(delivery_timeout=0.4).deliver(outgoing())["delivered"] is True
    assert time.monotonic() - started < 20  # the whole body takes 30


def test_redirects_share_one_time_limit(make_deliverer: Make, outgoing: Message, receiver: Receiver) -> None:
    def slow_redirect(stream: IO[bytes]) -> None:
        time.sleep(0.3)
        stream.write(b"HTTP/1.1 307 Moved\r\nlocation: /hook\r\ncontent-length: 0\r\n\r\n")

    receiver.answers = [Answer(write=slow_redirect)] * 3
    with pytest.raises(DeliveryError, match="did not answer"):
        make_deliverer(delivery_timeout=0.5).deliver(outgoing())
    assert len(receiver.received) <= 2


def test_an_endless_answer_is_cut_off(make_deliverer: Make, outgoing: Message, receiver: Receiver) -> None:
    written = 0

    def flood(stream: IO[bytes]) -> None:
        nonlocal written
        stream.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")
        while True:
            written += stream.write(b"x" * 65_536)

    receiver.answers = [Answer(write=flood)]
    deliverer = make_deliverer()
    assert deliverer.deliver(outgoing())["delivered"] is True
    assert written < MOST_ANSWER_BYTES + (16 << 20)  # what the sockets' buffers hold, not more
    assert deliverer.deliver(outgoing())["delivered"] is True

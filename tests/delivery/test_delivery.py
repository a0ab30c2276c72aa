"""What is posted where, and with which headers."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors.delivery import Deliverer, Outgoing
from actors.signing import signature
from lockstep.errors import InvalidSettings
from lockstep.settings import Settings
from tests.delivery.conftest import SECRET
from tests.delivery.receiver import Answer, Receiver

Make = Callable[..., Deliverer]
Message = Callable[..., Outgoing]


def test_posts_the_body_with_the_id_as_idempotency_key(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    result = make_deliverer().deliver(outgoing(headers={"lockstep-fence": "7"}))

    [request] = receiver.received
    assert (request.method, request.path, request.body) == ("POST", "/hook", outgoing().body)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == request.headers["idempotency-key"] == "m-1"
    assert request.headers["lockstep-fence"] == "7"
    assert "webhook-signature" not in request.headers
    assert result == {"delivered": True, "status": 200, "host": receiver.netloc}


def test_a_receiver_can_verify_the_signature(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    make_deliverer(delivery_secret=SECRET).deliver(outgoing())

    [request] = receiver.received
    stamp = request.headers["webhook-timestamp"]
    signed = b".".join([request.headers["webhook-id"].encode(), stamp.encode(), request.body])
    key = base64.b64decode(SECRET.split("_", 1)[1])
    mac = hmac.new(key, signed, hashlib.sha256)
    version, _, value = request.headers["webhook-signature"].partition(",")
    assert version == "v1"
    assert base64.b64decode(value) == mac.digest()
    assert abs(int(stamp) - time.time()) < 5


def test_the_signature_is_the_one_of_the_published_example() -> None:
    made = signature(
        SECRET,
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("message_id", "header"),
    [("order-7:a/b.c", "order-7:a/b.c"), (" ü\t€", "%20%C3%BC%09%E2%82%AC"), ("50%", "50%25")],
)
def test_an_id_of_any_characters_is_a_valid_header(
    message_id: str, header: str, make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    make_deliverer(delivery_secret=SECRET).deliver(outgoing(id=message_id))
    [request] = receiver.received
    assert request.headers["webhook-id"] == request.headers["idempotency-key"] == header
    signed = f"{header}.{request.headers['webhook-timestamp']}.".encode() + request.body
    mac = hmac.new(base64.b64decode(SECRET.split("_", 1)[1]), signed, hashlib.sha256)
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(mac.digest()).decode()


def test_an_own_header_cannot_be_overridden(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    make_deliverer().deliver(outgoing(headers={"webhook-id": "forged"}))
    assert receiver.received[0].headers["webhook-id"] == "m-1"


def test_the_route_of_the_instance_counts_before_the_common_url(
    make_deliverer: Make, outgoing: Message, receiver: Receiver, other_receiver: Receiver, tmp_path: Path
) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text(json.dumps({"acme": f"http://{other_receiver.netloc}/acme?via=lockstep"}))
    deliverer = make_deliverer(delivery_routes_file=str(routes))

    deliverer.deliver(outgoing(instance_id="acme"))
    deliverer.deliver(outgoing(instance_id="unlisted"))

    assert [request.path for request in other_receiver.received] == ["/acme?via=lockstep"]
    assert [request.path for request in receiver.received] == ["/hook"]


@pytest.mark.parametrize("text", ["not json", "[]", '{"acme": 7}', '{"acme": "ftp://host/"}'])
def test_wrong_routes_stop_the_process_at_its_start(text: str, tmp_path: Path) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        Deliverer(Settings(delivery_routes_file=str(routes)))
    assert list(caught.value.problems) == ["DELIVERY_ROUTES_FILE"]


def test_without_a_destination_it_logs_one_line_without_content(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    with capture_logs() as lines:
        result = make_deliverer(delivery_url=None).deliver(outgoing())

    assert result == {"delivered": False, "reason": "no destination"}
    assert lines == [
        {
            "event": "delivery.skipped",
            "log_level": "info",
            "message_id": "m-1",
            "reason": "no destination",
        }
    ]
    assert receiver.received == []


def test_threads_share_a_client_and_its_connections(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    deliverer = make_deliverer()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: deliverer.deliver(outgoing(id=f"m-{n}")), range(200)))

    assert all(result["delivered"] for result in results)
    assert {request.headers["webhook-id"] for request in receiver.received} == {f"m-{n}" for n in range(200)}
    assert receiver.connections <= 8


def test_a_cookie_is_not_sent_back(make_deliverer: Make, outgoing: Message, receiver: Receiver) -> None:
    receiver.answers = [Answer(headers={"Set-Cookie": "who=acme; Path=/"})]
    deliverer = make_deliverer()
    deliverer.deliver(outgoing())
    deliverer.deliver(outgoing())
    assert "cookie" not in receiver.received[1].headers


def test_after_a_close_the_next_delivery_opens_a_new_connection(
    make_deliverer: Make, outgoing: Message, receiver: Receiver
) -> None:
    deliverer = make_deliverer()
    deliverer.deliver(outgoing())
    deliverer.close()
    deliverer.close()
    deliverer.deliver(outgoing())
    assert receiver.connections == 2

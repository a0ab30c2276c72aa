"""No secret and no content reaches a log line, an error or a result."""

import logging
from collections.abc import Callable

import pytest
from dramatiq import Retry

from actors.answers import DeliveryError
from actors.delivery import Deliverer, Outgoing
from lockstep.errors import Permanent
from tests.delivery.conftest import SECRET
from tests.delivery.receiver import Answer, Receiver

SECRETS = ("hunter2", "tok-3n", "path-s3cret", SECRET, SECRET.removeprefix("whsec_"), "confidential")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, body=b"confidential"),
        Answer(404, body=b"confidential"),
        Answer(429, {"Retry-After": "1"}),
        Answer(500),
        Answer(307, {"Location": "http://elsewhere.invalid/?token=tok-3n"}),
        Answer(307, {"Location": "http://[tok-3n"}),
        Answer(write=lambda stream: None),
    ],
    ids=["success", "permanent", "retry-after", "error", "redirect", "bad-redirect", "no-answer"],
)
def test_nothing_secret_is_told(
    answer: Answer,
    make_deliverer: Callable[..., Deliverer],
    outgoing: Callable[..., Outgoing],
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [answer]
    url = f"http://user:hunter2@{receiver.netloc}/path-s3cret?token=tok-3n"
    deliverer = make_deliverer(delivery_url=url, delivery_secret=SECRET)
    try:
        told = str(deliverer.deliver(outgoing(body=b'"confidential"')))
    except (DeliveryError, Permanent, Retry) as error:
        told = f"{error!r} {error}"

    assert receiver.received[0].path == "/path-s3cret?token=tok-3n"
    assert receiver.received[0].headers["authorization"].startswith("Basic ")
    assert receiver.netloc in told
    everything = told + caplog.text
    assert [secret for secret in SECRETS if secret in everything] == []

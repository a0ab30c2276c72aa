from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.delivery import Deliverer, Outgoing
from lockstep.settings import Settings
from tests.delivery.receiver import Receiver, running

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as started:
        yield started


@pytest.fixture
def other_receiver() -> Iterator[Receiver]:
    with running() as started:
        yield started


@pytest.fixture
def make_deliverer(receiver: Receiver) -> Iterator[Callable[..., Deliverer]]:
    """Builds deliverers, to the receiver unless told otherwise."""
    made: list[Deliverer] = []

    def make(**overrides: Any) -> Deliverer:
        deliverer = Deliverer(Settings(**{"delivery_url": receiver.url, **overrides}))
        made.append(deliverer)
        return deliverer

    yield make
    for deliverer in made:
        deliverer.close()


@pytest.fixture
def outgoing() -> Callable[..., Outgoing]:
    def make(**overrides: Any) -> Outgoing:
        values = {"id": "m-1", "instance_id": "acme", "body": b'{"id":"m-1","body":"hello"}'}
        return Outgoing(**{**values, **overrides})

    return make

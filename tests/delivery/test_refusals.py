"""What could never be delivered is not accepted, from Python and over HTTP."""

from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest

from actors.messages import deliver
from lockstep.broker import LockstepBroker
from lockstep.errors import InvalidMessage
from lockstep.settings import Settings
from middleware import make_broker
from tests.web.client import client_of
from web.app import create_app

GOOD = {"instance_id": "acme", "customer_id": "c-1", "body": "hello"}


@pytest.fixture
def broker(settings: Settings) -> Iterator[LockstepBroker]:
    broker = make_broker(settings)
    broker.declare_actor(deliver)
    yield broker
    broker.close()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *(({"instance_id": bad}, "/kwargs/instance_id") for bad in (5, "", None, ["a"], "a:b", ":")),
        *(({"customer_id": bad}, "/kwargs/customer_id") for bad in ([1], "", 5, {})),
        ({"id": "mine"}, "/kwargs/id"),
        ({"customer_id": "c" * 256}, "/group"),
    ],
)
def test_it_is_refused_with_its_field(
    broker: LockstepBroker, settings: Settings, wrong: dict[str, Any], field: str
) -> None:
    kwargs = {**GOOD, **wrong}
    message: dramatiq.Message[Any] = deliver.message_with_options(kwargs=kwargs)
    with pytest.raises(InvalidMessage) as caught:
        broker.enqueue(message)
    client = client_of(create_app(broker, settings))
    response = client.post("/api/v1/messages", {"actor": "messages.deliver", "kwargs": kwargs})
    client.app.state.context.threads.close()
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, field)
    assert caught.value.field == field
    assert broker.store.queues() == []


def test_conversations_have_groups_of_their_own(broker: LockstepBroker) -> None:
    ids = [("a", "b:c"), ("a", "b"), ("a", "c"), ("instance-123", "customer-456"), ("a", ":b:c")]
    messages = [deliver.message_with_options(args=(*pair, "hello")) for pair in ids]
    groups = [broker.store.message(one.id).group for one in broker.enqueue_many(messages)]
    assert groups == ["a:b:c", "a:b", "a:c", "instance-123:customer-456", "a::b:c"]

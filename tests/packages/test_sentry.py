"""sentry-sdk's integration: errors and transactions of actors, linked to the trace of who sent the message."""

from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
import sentry_sdk
from dramatiq import Worker
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.dramatiq import DramatiqIntegration, SentryMiddleware
from sentry_sdk.transport import Transport

from lockstep.broker import LockstepBroker
from lockstep.records import MessageRecord
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


class Memory(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [(item.type, item.payload.json) for item in envelope.items]

    def of(self, type_: str) -> list[Any]:
        return [payload for kind, payload in self.items if kind == type_]


@pytest.fixture(scope="module")
def sentry() -> Iterator[Memory]:
    memory = Memory()
    original = dramatiq.Broker.__init__
    sentry_sdk.init(
        dsn="https://key@sentry.example/1",
        transport=memory,
        traces_sample_rate=1.0,
        auto_enabling_integrations=False,
        default_integrations=False,
        integrations=[DramatiqIntegration()],
    )
    yield memory
    sentry_sdk.get_client().close()
    # No client, and with it none of the integrations: ``init()`` would enable those of whatever is installed.
    sentry_sdk.get_global_scope().set_client(None)
    dramatiq.Broker.__init__ = original  # type: ignore[method-assign]


@pytest.fixture
def broker(sentry: Memory, settings: Settings) -> Iterator[LockstepBroker]:
    sentry.items.clear()
    broker = make_broker(settings)
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


def test_its_middleware_is_there(broker: LockstepBroker) -> None:
    assert isinstance(broker.middleware[0], SentryMiddleware)


def test_an_actor_continues_the_trace_of_its_sender(
    broker: LockstepBroker, sentry: Memory, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(actor_name="work", group_by="{n}")
    def work(n: int) -> None:
        pass

    start()
    with sentry_sdk.start_transaction(op="web", name="request") as request:
        sent = [work.send(1), work.send_with_options(args=(2,), delay=10)]
    for message in sent:
        assert ended(message.message_id).state is MessageState.DONE
    runs = wait_for("both were reported", lambda: of_actor(sentry, "work", 2))
    assert {run["contexts"]["trace"]["trace_id"] for run in runs} == {request.trace_id}
    assert {run["contexts"]["trace"]["status"] for run in runs} == {"ok"}
    (web,) = [one for one in sentry.of("transaction") if one["transaction"] == "request"]
    assert web["contexts"]["trace"]["trace_id"] == request.trace_id


def test_errors_are_reported_with_their_message(
    broker: LockstepBroker, sentry: Memory, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(actor_name="fails", max_attempts=2, backoff="fixed:10ms")
    def fails(body: str) -> None:
        raise LookupError("no such thing")

    start()
    message = fails.send("hello")
    assert ended(message.message_id).state is MessageState.DEAD
    errors = wait_for(
        "both attempts were reported", lambda: len(sentry.of("event")) == 2 and sentry.of("event")
    )
    for error in errors:
        assert error["exception"]["values"][-1]["type"] == "LookupError"
        assert error["contexts"]["dramatiq"]["data"]["args"] == ["hello"]
        assert error["extra"]["dramatiq_message_id"] == message.message_id
    assert len(wait_for("both were traced", lambda: of_actor(sentry, "fails", 2))) == 2


def of_actor(sentry: Memory, name: str, number: int) -> list[Any]:
    found = [one for one in sentry.of("transaction") if one["transaction"] == name]
    return found if len(found) == number else []

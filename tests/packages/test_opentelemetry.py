"""opentelemetry-instrumentor-dramatiq: spans of sender and worker."""

from collections.abc import Callable, Iterator

import dramatiq
import pytest
from dramatiq import Worker
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry_instrumentor_dramatiq import DramatiqInstrumentor

from lockstep.broker import LockstepBroker
from lockstep.records import MessageRecord
from lockstep.states import MessageState
from tests.support.waiting import wait_for

Start = Callable[[], Worker]
Ended = Callable[[str], MessageRecord]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = DramatiqInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    yield exporter
    instrumentor.uninstrument()
    provider.shutdown()


def test_the_span_of_an_actor_has_the_trace_of_its_sender(
    spans: InMemorySpanExporter, broker: LockstepBroker, start: Start, ended: Ended
) -> None:
    @dramatiq.actor(group_by="{n}")
    def work(n: int) -> int:
        return n

    start()
    message = work.send(1)
    assert ended(message.message_id).state is MessageState.DONE
    produced, consumed = wait_for(
        "both have ended", lambda: len(spans.get_finished_spans()) == 2 and spans.get_finished_spans()
    )
    assert produced.name == "dramatiq.producer.work"
    assert consumed.context.trace_id == produced.context.trace_id
    assert consumed.attributes["message_id"] == message.message_id

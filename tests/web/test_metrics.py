from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from lockstep import metrics
from lockstep.metrics import METRICS, attempt_field, histogram_fields, stats_field
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from tests.support.waiting import PATIENCE
from tests.web.client import Client

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(client: Client, **headers: str) -> Samples:
    text = client.get("/metrics", **headers).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_every_metric_of_the_table_is_served_with_its_type_and_help(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
    for metric in METRICS:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert all(set(sample.labels) - {"le"} == set(metric.labels) for sample in family.samples)
    assert families == {}


def test_what_was_sent_is_counted(client: Client) -> None:
    for body in ({**MAIL, "id": "a"}, {**MAIL, "id": "a"}, {**MAIL, "group": "g"}, {"actor": "anything"}):
        client.post("/api/v1/messages", body)
    found = samples(client)
    assert found[key("lockstep_messages_enqueued_total", queue="mail", actor="mail.send")] == 2
    assert found[key("lockstep_messages_enqueued_total", queue="other", actor="anything")] == 1
    assert found[key("lockstep_messages_deduplicated_total", queue="mail")] == 1
    assert found[key("lockstep_queue_messages", queue="mail", state="waiting")] == 2
    assert found[key("lockstep_groups", queue="mail", state="ready")] == 2
    assert found[key("lockstep_queue_oldest_seconds", queue="mail")] >= 0
    assert found[key("lockstep_group_depth_max", queue="mail")] == 1
    assert 0 < found[key("lockstep_group_age_max_seconds", queue="mail")] < PATIENCE
    assert found[key("lockstep_redis_up")] == 1
    assert found[key("lockstep_redis_memory_bytes")] > 100_000


def test_what_workers_count_comes_out_as_it_went_in(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    stats: Counter[str] = Counter()
    for seconds in (0.001, 0.0011, 3.0, 90_000.0):
        stats.update(histogram_fields(metrics.DURATION, ("mail.send",), seconds))
    stats.update(histogram_fields(metrics.WAIT, (), 0.2))
    stats.update({attempt_field("mail.send", "done"): 3, attempt_field("a|b", "retry"): 1})
    stats.update({stats_field(metrics.LEASE_LOST): 4, stats_field(metrics.REAPED): 5})
    client.app.state.context.broker.store.count("mail", stats)
    found = samples(client)

    def bucket(bound: str) -> float:
        name = "lockstep_message_duration_seconds_bucket"
        return found[key(name, queue="mail", actor="mail.send", le=bound)]

    assert [bucket(bound) for bound in ("0.001", "0.0025", "2.5", "5.0", "7200.0", "+Inf")] == [
        1,
        2,
        2,
        3,
        3,
        4,
    ]
    labels = {"queue": "mail", "actor": "mail.send"}
    assert found[key("lockstep_message_duration_seconds_count", **labels)] == 4
    assert found[key("lockstep_message_duration_seconds_sum", **labels)] == pytest.approx(90_003.0021)
    assert found[key("lockstep_message_wait_seconds_count", queue="mail")] == 1
    assert found[key("lockstep_attempts_total", **labels, outcome="done")] == 3
    assert found[key("lockstep_attempts_total", queue="mail", actor="a|b", outcome="retry")] == 1
    assert found[key("lockstep_lease_lost_total", queue="mail")] == 4
    assert found[key("lockstep_reaped_total", queue="mail")] == 5


def test_what_processes_say_of_themselves_is_added_up(client: Client) -> None:
    worker = ProcessRecord(
        name="w1", type=ProcessType.WORKER, role="all", instance="i", host="h", pid=1, master_pid=1, boot="b",
        version="1", started_ms=0, state=ProcessState.READY, busy=2, capacity=8,
    )  # fmt: skip
    for one in (
        worker,
        replace(worker, name="w2", busy=1),
        replace(worker, name="w3", state=ProcessState.DRAINING, version="2"),
        replace(worker, name="w4", role="email", busy=0),
        replace(worker, name="web", type=ProcessType.WEB, role="", busy=9),
    ):
        client.app.state.context.broker.store.processes.report(one)
    found = samples(client)
    assert found[key("lockstep_workers", role="all", state="ready", version="1")] == 2
    assert found[key("lockstep_workers", role="all", state="draining", version="2")] == 1
    assert found[key("lockstep_worker_capacity", role="all")] == 16  # what drains takes nothing more
    assert found[key("lockstep_worker_busy", role="all")] == 5
    assert found[key("lockstep_worker_busy", role="email")] == 0
    assert found[key("lockstep_processes", type="worker", state="ready", version="1")] == 3
    assert found[key("lockstep_processes", type="web", state="ready", version="1")] == 1
    assert not [name for name, labels in found if ("role", "") in labels]


def test_requests_are_counted_by_template_and_never_by_what_clients_make_up(client: Client) -> None:
    for path in ("/api/v1/messages/a", "/api/v1/messages/b", "/a", "/b"):
        client.get(path)
    client.request("EVIL", "/api/v1/queues")
    client.request("PUT", "/livez")
    found = samples(client)
    name = "lockstep_http_requests_total"
    assert found[key(name, method="GET", route="/api/v1/messages/{id}", status="404")] == 2
    assert found[key(name, method="GET", route="unmatched", status="404")] == 2
    assert found[key(name, method="OTHER", route="unmatched", status="405")] == 1
    assert found[key(name, method="PUT", route="unmatched", status="405")] == 1
    duration = "lockstep_http_request_duration_seconds_count"
    assert found[key(duration, method="GET", route="/api/v1/messages/{id}")] == 2


def test_a_defect_counts_as_500(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError

    monkeypatch.setattr(client.app.state.context.broker.store, "ping", broken)
    client.get("/readyz")
    assert (
        samples(client)[key("lockstep_http_requests_total", method="GET", route="/readyz", status="500")] == 1
    )


def test_openmetrics_for_those_who_ask(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    response = client.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(response.text)} == {
        metric.name.removesuffix("_total") for metric in METRICS
    }


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/plain; version=99", "application/openmetrics-text; version=x", ";,;"]
)
def test_any_accept_header_is_answered(client: Client, accept: str) -> None:
    assert client.get("/metrics", accept=accept).status_code == 200


def test_no_group_is_in_a_label(client: Client) -> None:
    client.post("/api/v1/messages", {**MAIL, "group": "customer-77"})
    assert "customer-77" not in client.get("/metrics").text


@given(st.floats(min_value=0, max_value=1e9), st.lists(st.text(min_size=1), max_size=1))
def test_an_observation_adds_one_bucket_and_its_microseconds(seconds: float, labels: Any) -> None:
    fields = histogram_fields("x", tuple(labels), seconds)
    prefix = "|".join(("x", *labels))
    total = fields.pop(f"{prefix}|sum_us")
    assert total == round(seconds * 1_000_000)
    ((field, one),) = fields.items()
    bound = float(field.removeprefix(f"{prefix}|le:"))
    assert one == 1
    assert seconds <= bound
    assert all(lower >= bound or lower < seconds for lower in metrics.BUCKETS)

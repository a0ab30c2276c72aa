"""Repeats over HTTP: by id, by key, in a batch, at the same moment."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from lockstep.settings import Settings
from tests.support.waiting import PATIENCE
from tests.web.client import Client, pointers
from web.context import Context

ONE, BATCH = "/api/v1/messages", "/api/v1/messages/batch"
MAIL = {"actor": "mail.send", "kwargs": {"to": "a", "body": "b"}, "group": "g"}

Snapshot = Callable[[], dict[bytes, bytes]]


def answer(response: httpx.Response) -> tuple[int, bool, Any]:
    return response.status_code, "idempotent-replayed" in response.headers, response.json()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"field": "k 1"}, {"field": "k 1"}),
        ({"header": '"k 1"'}, {"header": "k 1"}),
        ({"header": "k 1"}, {"field": "k 1"}),
        ({"header": '"k 1"; a=b', "field": "k 1"}, {"header": ' "k 1" '}),
        ({"header": r'"a\"b\\c"'}, {"field": 'a"b\\c'}),
    ],
)
def test_a_repeat_gets_the_first_answer(client: Client, first: dict[str, str], again: dict[str, str]) -> None:
    def send(said: dict[str, str], body: dict[str, Any]) -> httpx.Response:
        field = {"idempotency_key": said["field"]} if "field" in said else {}
        header = {"idempotency-key": said["header"]} if "header" in said else {}
        return client.post(ONE, {**body, **field}, **header)

    status, replayed, body = answer(send(first, MAIL))
    assert (status, replayed, body["state"]) == (202, False, "waiting")
    turned = {**MAIL, "kwargs": {"body": "b", "to": "a"}}  # the order of members does not count
    response = send(again, dict(reversed(turned.items())))
    assert answer(response) == (200, True, body)
    assert response.headers["location"].endswith(body["id"])
    assert client.get("/api/v1/queues/mail").json()["messages"]["waiting"] == 1


SOON = int(time.time() * 1000)


@pytest.mark.parametrize(
    "other",
    [
        {"kwargs": {"to": "a", "body": "c"}},
        {"args": ["a"], "kwargs": {"body": "b"}},
        *({name: value} for name, value in [("group", "h"), ("delay_ms", 5), ("eta", SOON), ("id", "i")]),
        *({name: value} for name, value in [("priority", 3), ("max_attempts", 2), ("unique", "1m")]),
        {"actor": "anything"},
    ],
)
def test_something_else_is_refused_and_nothing_is_written(
    client: Client, snapshot: Snapshot, other: dict[str, Any]
) -> None:
    client.post(ONE, {**MAIL, "idempotency_key": "k"})
    client.post(ONE, {**MAIL, "id": "m-1"})
    client.post(ONE, {"actor": "anything"})
    before = snapshot()
    by_key = client.post(ONE, {**MAIL, "idempotency_key": "k", **other})
    assert (by_key.status_code, pointers(by_key)) == (422, ["/idempotency_key"])
    if "id" not in other:
        by_id = client.post(ONE, {**MAIL, "id": "m-1", **other})
        assert (by_id.status_code, pointers(by_id)) == (422, ["/id"])
    batch = client.post(BATCH, {"messages": [MAIL, {**MAIL, "idempotency_key": "k", **other}]})
    assert (batch.status_code, pointers(batch)) == (422, ["/messages/1/idempotency_key"])
    assert snapshot() == before


@pytest.mark.parametrize("header", ["", '"', '"a', 'a"b"\x7f', '"a\\b"', "\u00e9", '"a" "b"; c' + "\x01"])
def test_a_header_that_is_no_key_is_refused(client: Client, snapshot: Snapshot, header: str) -> None:
    options = {"content-type": "application/json", "idempotency-key": header.encode("latin-1")}
    response = client.request("POST", ONE, content=b"{}", headers=options)
    assert response.status_code == 400
    assert snapshot() == {}


def test_header_and_field_must_agree(client: Client, snapshot: Snapshot) -> None:
    response = client.post(ONE, {**MAIL, "idempotency_key": "a"}, idempotency_key="b")
    assert (response.status_code, pointers(response)) == (422, ["/idempotency_key"])
    too_long = client.post(ONE, MAIL, idempotency_key="k" * 256)
    assert (too_long.status_code, pointers(too_long)) == (422, ["/idempotency_key"])
    body = {"messages": [MAIL, {**MAIL, "idempotency_key": "a"}]}
    response = client.post(BATCH, body, idempotency_key="b")
    assert (response.status_code, pointers(response)) == (422, ["/messages/1/idempotency_key"])
    assert snapshot() == {}


@pytest.mark.parametrize("shards", [1, 4])
def test_a_header_covers_a_batch_as_a_whole(
    settings: Settings, make_client: Callable[[Settings], Client], snapshot: Snapshot, shards: int
) -> None:
    client = make_client(replace(settings, queue_shards=shards))
    body = {
        "messages": [{**MAIL, "group": f"g{n % 3}"} for n in range(6)] + [{"actor": "anything", "id": "i"}]
    }
    first = client.post(BATCH, body, idempotency_key="k")
    again = client.post(BATCH, body, idempotency_key="k")
    assert answer(first)[:2] == (202, False)
    assert answer(again) == (200, True, {**first.json(), "accepted": 0, "duplicates": 7})
    before = snapshot()
    for other in (body["messages"][:-1], body["messages"][::-1], [*body["messages"], MAIL]):
        refused = client.post(BATCH, {"messages": other}, idempotency_key="k")
        assert (refused.status_code, pointers(refused)) == (422, ["/idempotency_key"])
    assert snapshot() == before
    # The id of one is a thing of its own: the same message alone is a repeat.
    assert answer(client.post(ONE, {"actor": "anything", "id": "i"}))[:2] == (200, True)


def test_keys_in_a_batch_are_each_messages_own(client: Client) -> None:
    keyed = [{**MAIL, "idempotency_key": key} for key in ("a", "b", "a")]
    body = client.post(BATCH, {"messages": keyed}).json()
    assert (body["accepted"], body["duplicates"], body["ids"][0]) == (2, 1, body["ids"][2])
    assert client.post(ONE, keyed[1]).json()["id"] == body["ids"][1]


@pytest.mark.parametrize("shards", [1, 4])
def test_at_the_same_moment_one_is_written(
    settings: Settings, make_client: Callable[[Settings], Client], shards: int
) -> None:
    """Half of them come to another process."""
    clients = [make_client(replace(settings, queue_shards=shards)) for _ in range(2)]
    barrier = threading.Barrier(8)
    plain = {"actor": "mail.send", "kwargs": {"to": "a"}}

    def send(number: int) -> httpx.Response:
        barrier.wait(PATIENCE)
        return clients[number % 2].post(ONE, plain, idempotency_key="k")

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(send, range(8)))
    statuses = Counter(response.status_code for response in responses)
    assert statuses[202] == 1
    assert set(statuses) <= {200, 202, 409}
    assert len({response.json()["id"] for response in responses if response.status_code != 409}) == 1
    assert clients[0].get("/api/v1/queues/mail").json()["messages"]["waiting"] == 1


def test_while_the_first_is_being_taken_a_repeat_is_told_so(client: Client, snapshot: Snapshot) -> None:
    context: Context = client.app.state.context
    with context.in_flight.hold(["k", None]):
        for path, body in ((ONE, MAIL), (BATCH, {"messages": [MAIL]})):
            response = client.post(path, body, idempotency_key='"k"')
            assert (response.status_code, response.headers["retry-after"]) == (409, "1")
        in_batch = client.post(BATCH, {"messages": [{**MAIL, "idempotency_key": "k"}]})
        assert in_batch.status_code == 409
        assert snapshot() == {}
        assert client.post(ONE, MAIL, idempotency_key="l").status_code == 202
    assert client.post(ONE, MAIL, idempotency_key="k").status_code == 202


def test_one_that_is_kept_out_is_no_repeat(client: Client) -> None:
    unique = {**MAIL, "unique": "until_finished", "unique_by": "{to}"}
    first = client.post(ONE, unique)
    other = client.post(ONE, {**unique, "kwargs": {"to": "a", "body": "other"}})
    assert answer(other) == (200, False, first.json())
    assert client.get("/api/v1/queues/mail").json()["totals"]["deduplicated"] == 1
    assert client.post(ONE, {**unique, "group": "h"}).status_code == 202

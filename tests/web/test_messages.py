from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from lockstep.records import NewMessage
from lockstep.settings import Settings
from tests.web.client import Client, pointers

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}

Snapshot = Callable[[], dict[bytes, bytes]]


def counts(client: Client, queue: str = "mail") -> dict[str, int]:
    items = {item["name"]: item["messages"] for item in client.get("/api/v1/queues").json()["items"]}
    found: dict[str, int] = items[queue]
    return found


def test_an_accepted_message_can_be_looked_at(client: Client) -> None:
    response = client.post("/api/v1/messages", {**MAIL, "group": "g/1", "args": [], "max_attempts": 2})
    body = response.json()
    assert response.status_code == 202
    assert {**body, "id": ""} == {
        "id": "",
        "queue": "mail",
        "group": "g/1",
        "state": "waiting",
        "sequence": 1,
    }
    shown = client.get(response.headers["location"]).json()
    assert (shown["id"], shown["state"], shown["actor"]) == (body["id"], "waiting", "mail.send")
    assert (shown["queue"], shown["group"], shown["sequence"], shown["position"]) == ("mail", "g/1", 1, 0)
    assert (shown["args"], shown["kwargs"], shown["attempts"], shown["result"]) == ([], {"to": "a"}, [], None)
    age = datetime.now(UTC) - datetime.fromisoformat(shown["enqueued_at"])
    assert shown["enqueued_at"].endswith("Z")
    assert abs(age) < timedelta(seconds=30)
    assert counts(client)["waiting"] == 1


def test_a_repeat_writes_nothing_and_says_so(client: Client, snapshot: Snapshot) -> None:
    first = client.post("/api/v1/messages", {**MAIL, "id": "m-1", "group": "g"})
    waiting = counts(client)
    again = client.post("/api/v1/messages", {**MAIL, "id": "m-1", "group": "g"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    assert counts(client) == waiting


@pytest.mark.parametrize("message_id", ["a/b", "a%2Fb", "ключ", "?x=#y", " ", "..x", "a+b", "i" * 128, "😀"])
def test_any_id_has_an_address(client: Client, message_id: str) -> None:
    response = client.post("/api/v1/messages", {**MAIL, "id": message_id})
    location = response.headers["location"]
    assert unquote(location.removeprefix("/api/v1/messages/")) == message_id
    assert client.get(location).json()["id"] == message_id


@pytest.mark.parametrize("group", ["\x00", "{a}", "m:1", "a|||b", "групп", "g" * 256, "\r\nX: y", "*"])
def test_any_group_is_kept_as_it_is(client: Client, group: str) -> None:
    response = client.post("/api/v1/messages", {**MAIL, "group": group})
    assert response.json()["group"] == group
    assert client.get(response.headers["location"]).json()["group"] == group


def test_values_come_back_as_they_went_in(client: Client) -> None:
    kwargs: dict[str, Any] = {
        "a": [1, -(2**63), 2**64 - 1, 1.5e300, "é\u2028😀\x00", None, {"": {}}],
        "b": True,
    }
    response = client.post("/api/v1/messages", {"actor": "anything", "args": ["x"], "kwargs": kwargs})
    shown = client.get(response.headers["location"]).json()
    assert (shown["args"], shown["kwargs"]) == (["x"], kwargs)


def test_a_delayed_message_is_scheduled(client: Client) -> None:
    by_delay = client.post("/api/v1/messages", {**MAIL, "group": "g", "delay_ms": 3_600_000})
    eta = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    by_eta = client.post("/api/v1/messages", {**MAIL, "group": "g", "eta": eta})
    for response in (by_delay, by_eta):
        assert (response.json()["state"], response.json()["sequence"]) == ("scheduled", None)
        shown = client.get(response.headers["location"]).json()
        left = datetime.fromisoformat(shown["due_at"]) - datetime.now(UTC)
        assert timedelta(minutes=50) < left <= timedelta(minutes=61)
    assert counts(client)["scheduled"] == 2


def test_a_batch_is_accepted_in_its_order(client: Client) -> None:
    first = client.post("/api/v1/messages", {**MAIL, "id": "old", "group": "g"})
    batch = [{**MAIL, "id": f"m-{n}", "group": "g"} for n in range(3)]
    other = {"actor": "anything", "id": "elsewhere"}
    response = client.post(
        "/api/v1/messages/batch", {"messages": [*batch, other, {**MAIL, "id": "old", "group": "g"}]}
    )
    assert response.status_code == 202
    assert response.json() == {
        "accepted": 4,
        "duplicates": 1,
        "ids": ["m-0", "m-1", "m-2", "elsewhere", "old"],
    }
    sequences = [client.get(f"/api/v1/messages/m-{n}").json()["sequence"] for n in range(3)]
    assert sequences == sorted(sequences)
    assert sequences[0] > first.json()["sequence"]


def test_a_batch_may_have_a_thousand(client: Client) -> None:
    response = client.post("/api/v1/messages/batch", {"messages": [MAIL] * 1000})
    assert response.json()["accepted"] == 1000
    assert len(set(response.json()["ids"])) == 1000
    assert counts(client)["waiting"] == 1000


def test_one_wrong_message_refuses_the_batch(client: Client, snapshot: Snapshot) -> None:
    before = snapshot()
    for wrong, pointer in [
        ({"actor": "mail.send", "kwargs": {"to": "a", "body": "b", "cc": "c"}}, "/messages/3/kwargs/cc"),
        ({"actor": "mail.send"}, "/messages/3/kwargs/to"),
        ({"actor": "nobody"}, "/messages/3/actor"),
        (None, "/messages/3"),
    ]:
        response = client.post("/api/v1/messages/batch", {"messages": [MAIL, MAIL, MAIL, wrong, MAIL]})
        assert pointers(response) == [pointer]
    assert snapshot() == before


def test_an_oversize_message_in_a_batch_is_pointed_at(
    settings: Settings, client: Client, snapshot: Snapshot
) -> None:
    before = snapshot()
    huge = {"actor": "mail.send", "kwargs": {"to": "x" * settings.max_payload_bytes}}
    response = client.post("/api/v1/messages/batch", {"messages": [MAIL, MAIL, huge]})
    assert response.status_code == 413
    assert pointers(response) == ["/messages/2"]
    assert snapshot() == before


def test_an_unknown_message_is_not_found(client: Client) -> None:
    for message_id in ("nobody", "%FF%FE", "a%2Fb", "%ED%A0%80", "batch"):
        assert client.get(f"/api/v1/messages/{message_id}").status_code == 404


def test_a_payload_that_is_no_message_is_shown_raw(client: Client, settings: Settings) -> None:
    store = client.app.state.context.broker.store
    payloads = [b"\xff\x00", b"[1]", b'{"args": NaN, "kwargs": 1e999}', b"[" * 5000]
    store.enqueue("mail", [NewMessage(id=str(n), actor="x", payload=p) for n, p in enumerate(payloads)])
    shown = [client.get(f"/api/v1/messages/{n}").json() for n in range(4)]
    assert [one.get("payload_base64") for one in shown][:2] == ["/wA=", "WzFd"]
    assert "payload_base64" not in shown[2]
    assert shown[3]["args"] is None

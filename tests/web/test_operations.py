"""What operators do to single messages, over HTTP."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lockstep.parsing import api_keys
from lockstep.settings import Settings
from tests.web.client import Client

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}, "group": "a/b"}


def press(client: Client, path: str, **headers: str) -> tuple[int, Any]:
    response = client.request("POST", f"/api/v1/messages/{path}", headers=headers)
    return response.status_code, response.json()


def test_a_message_is_cancelled(client: Client) -> None:
    client.post("/api/v1/messages", MAIL | {"id": "a/1"})
    answer = {
        "id": "a/1",
        "queue": "mail",
        "state": "cancelled",
        "changed": True,
        "cancel_requested": False,
    }
    assert press(client, "a%2F1/cancel") == (200, answer)
    assert client.get("/api/v1/messages/a%2F1").json()["state"] == "cancelled"
    assert press(client, "a%2F1/cancel") == (200, answer | {"changed": False})
    metrics = client.get("/metrics").text
    assert 'lockstep_messages_cancelled_total{actor="mail.send",queue="mail"} 1.0' in metrics


@pytest.mark.parametrize("verb", ["cancel", "promote", "retry"])
def test_an_unknown_message_is_404(client: Client, verb: str) -> None:
    assert press(client, f"nosuch/{verb}")[0] == 404


@pytest.mark.parametrize("verb", ["cancel", "promote", "retry"])
def test_it_needs_the_scope(settings: Settings, make_client: Callable[..., Client], verb: str) -> None:
    client = make_client(replace(settings, api_keys=api_keys("ops:operate:boss,shop:enqueue:s3cret")))
    assert press(client, f"1/{verb}")[0] == 401
    assert press(client, f"1/{verb}", authorization="Bearer s3cret")[0] == 403
    assert press(client, f"1/{verb}", authorization="Bearer boss")[0] == 404


def test_a_scheduled_message_is_promoted(client: Client) -> None:
    client.post("/api/v1/messages", MAIL | {"id": "1", "delay_ms": 3_600_000})
    status, body = press(client, "1/retry")
    assert (status, body["id"], body["state"]) == (409, "1", "scheduled")
    assert press(client, "1/promote")[1]["changed"] is True
    assert press(client, "1/promote") == (
        200,
        {"id": "1", "queue": "mail", "state": "waiting", "changed": False, "cancel_requested": False},
    )
    client.request("POST", "/api/v1/messages/1/cancel")
    status, body = press(client, "1/promote")
    assert (status, body["state"]) == (409, "cancelled")


def test_the_end_of_a_group_is_tail_or_head(client: Client) -> None:
    client.post("/api/v1/messages", MAIL | {"id": "1"})
    assert press(client, "1/retry?order=head")[0] == 200
    status, body = press(client, "1/retry?order=middle")
    assert (status, body["errors"][0]["pointer"]) == (422, "/order")


@pytest.mark.parametrize(
    ("path", "group", "purged"), [("mail/purge", None, 3), ("mail/groups/a%2Fb/purge", "a/b", 2)]
)
def test_a_queue_or_a_group_is_purged(client: Client, path: str, group: str | None, purged: int) -> None:
    for name in ("a/b", "a/b", "c"):
        client.post("/api/v1/messages", MAIL | {"group": name})
    response = client.request("POST", f"/api/v1/queues/{path}")
    assert (response.status_code, response.json()) == (
        200,
        {"queue": "mail", "group": group, "purged": purged, "remaining": False},
    )
    assert client.get("/api/v1/queues/mail").json()["messages"]["waiting"] == 3 - purged
    assert client.request("POST", f"/api/v1/queues/{path}").json()["purged"] == 0


def test_an_unknown_queue_is_404(client: Client) -> None:
    assert client.request("POST", "/api/v1/queues/nosuch/purge").status_code == 404
    assert client.get("/api/v1/queues/nosuch/groups").status_code == 404
    assert client.get("/api/v1/queues/nosuch/groups/g").status_code == 404


def test_groups_are_listed_and_shown(client: Client) -> None:
    for number in range(3):
        client.post("/api/v1/messages", MAIL | {"group": f"a/{number}", "id": str(number)})
    client.request("POST", "/api/v1/queues/mail/groups/a%2F0/pause")
    first = client.get("/api/v1/queues/mail/groups?limit=2").json()
    second = client.get(f"/api/v1/queues/mail/groups?limit=2&cursor={first['next_cursor']}").json()
    items = [*first["items"], *second["items"]]
    assert [(one["group"], one["state"], one["why"]) for one in items] == [
        ("a/1", "ready", None),
        ("a/2", "ready", None),
        ("a/0", "paused", "paused"),
    ]
    assert second["next_cursor"] is None
    (paused,) = client.get("/api/v1/queues/mail/groups?state=paused").json()["items"]
    shown = client.get("/api/v1/queues/mail/groups/a%2F0").json()
    assert shown | {"head_age_seconds": 0} == paused | {"head_age_seconds": 0}
    assert (shown["depth"], shown["head"], shown["paused"]) == (1, "0", True)
    assert client.get("/api/v1/queues/mail/groups/none").status_code == 404


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("state=asleep", "/state"), ("limit=0", "/limit"), ("limit=201", "/limit"), ("limit=x", "/limit"),
     ("cursor=x", "/cursor"), ("sorted=1", "/sorted")],
)  # fmt: skip
def test_a_wrong_parameter_is_named(client: Client, query: str, pointer: str) -> None:
    client.post("/api/v1/messages", MAIL)
    response = client.get(f"/api/v1/queues/mail/groups?{query}")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)

from collections.abc import Callable
from dataclasses import replace

import pytest

from lockstep.parsing import api_keys
from lockstep.settings import Settings
from tests.web.client import Client, pointers

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}, "group": "a/b"}


def press(client: Client, path: str, **headers: str) -> tuple[int, object]:
    response = client.request("POST", f"/api/v1/queues/{path}", headers=headers)
    return response.status_code, response.json()


def test_a_group_is_paused_and_resumed(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    answer = {"queue": "mail", "group": "a/b", "paused": True, "changed": True}
    assert press(client, "mail/groups/a%2Fb/pause") == (200, answer)
    assert press(client, "mail/groups/a%2Fb/pause") == (200, answer | {"changed": False})
    shown = client.get("/api/v1/queues/mail").json()
    assert (shown["paused"], shown["groups"]["paused"], shown["groups"]["ready"]) == (False, 1, 0)
    assert press(client, "mail/groups/a%2Fb/resume") == (200, answer | {"paused": False})
    assert client.get("/api/v1/queues/mail").json()["groups"]["ready"] == 1


def test_a_queue_is_paused_and_resumed(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    answer = {"queue": "mail", "group": None, "paused": True, "changed": True}
    assert press(client, "mail/pause") == (200, answer)
    assert client.get("/api/v1/queues/mail").json()["paused"] is True
    assert 'lockstep_queue_paused{queue="mail"} 1.0' in client.get("/metrics").text
    assert press(client, "mail/resume") == (200, answer | {"paused": False})
    assert 'lockstep_queue_paused{queue="mail"} 0.0' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["nosuch/pause", "nosuch/resume", "nosuch/groups/g/pause"])
def test_an_unknown_queue_is_404(
    client: Client, snapshot: Callable[[], dict[bytes, bytes]], path: str
) -> None:
    assert press(client, path)[0] == 404
    assert snapshot() == {}
    assert client.get("/api/v1/queues/nosuch").status_code == 404


def test_a_group_key_that_no_message_can_have_is_422(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    response = client.request("POST", f"/api/v1/queues/mail/groups/{'x' * 257}/pause")
    assert (response.status_code, pointers(response)) == (422, ["/group"])


def test_it_needs_the_scope(settings: Settings, make_client: Callable[..., Client]) -> None:
    client = make_client(replace(settings, api_keys=api_keys("ops:operate:boss,shop:enqueue:s3cret")))
    assert press(client, "mail/pause")[0] == 401
    assert press(client, "mail/pause", authorization="Bearer s3cret")[0] == 403
    assert press(client, "mail/pause", authorization="Bearer boss")[0] == 404


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:7777", 200),
        ("http://127.0.0.1:3000", 200),
        ("https://[::1]", 200),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_page_from_elsewhere_may_not_press_it(client: Client, origin: str, status: int) -> None:
    client.post("/api/v1/messages", MAIL)
    assert press(client, "mail/pause", origin=origin)[0] == status
    assert client.get("/api/v1/queues/mail").json()["paused"] == (status == 200)


def test_the_deepest_and_the_oldest_groups(client: Client) -> None:
    for group in ("a", "b", "b", "c/d"):
        client.post("/api/v1/messages", {**MAIL, "group": group})
    deepest = client.get("/api/v1/queues/mail/groups?sort=depth&limit=2").json()
    assert [(one["group"], one["depth"]) for one in deepest["items"]] == [("b", 2), ("a", 1)]
    assert (deepest["next_cursor"], deepest["exact"]) == (None, True)
    oldest = client.get("/api/v1/queues/mail/groups?sort=age").json()["items"]
    assert [one["group"] for one in oldest] == ["a", "b", "c/d"]
    for query, field in (
        ("sort=size", "/sort"),
        ("sort=age&state=ready", "/state"),
        ("sort=age&cursor=x", "/cursor"),
    ):
        refused = client.get(f"/api/v1/queues/mail/groups?{query}")
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, field)

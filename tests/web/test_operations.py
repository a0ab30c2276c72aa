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


@pytest.mark.parametrize("verb", ["cancel"])
def test_an_unknown_message_is_404(client: Client, verb: str) -> None:
    assert press(client, f"nosuch/{verb}")[0] == 404


@pytest.mark.parametrize("verb", ["cancel"])
def test_it_needs_the_scope(settings: Settings, make_client: Callable[..., Client], verb: str) -> None:
    client = make_client(replace(settings, api_keys=api_keys("ops:operate:boss,shop:enqueue:s3cret")))
    assert press(client, f"1/{verb}")[0] == 401
    assert press(client, f"1/{verb}", authorization="Bearer s3cret")[0] == 403
    assert press(client, f"1/{verb}", authorization="Bearer boss")[0] == 404

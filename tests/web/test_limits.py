from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lockstep.parsing import api_keys
from lockstep.settings import Settings
from tests.web.client import Client, pointers

EMAIL = "/api/v1/limits/email"


def send(client: Client, method: str, path: str, data: Any = None) -> Any:
    return client.request(method, path, json=data) if data is not None else client.request(method, path)


def test_a_limit_is_set_shown_and_reset(client: Client) -> None:
    client.app.state.context.broker.store.limits.declare({}, {}, {"email": 9})
    answer = send(client, "PUT", EMAIL, {"rates": ["100/60s", "5/1s burst 2 per group"], "concurrency": 3})
    assert answer.status_code == 200
    (shown,) = client.get("/api/v1/limits").json()["items"]
    assert shown == answer.json()["items"][0]
    assert shown == {
        "name": "email",
        "rates": ["100/60s", "5/1s burst 2 per group"],
        "concurrency": 3,
        "sources": {"rates": "run", "concurrency": "run"},
        "running": 0,
        "waiting_groups": 0,
        "held_seconds": 0,
    }
    (shown,) = send(client, "DELETE", EMAIL).json()["items"]
    assert (shown["rates"], shown["concurrency"], shown["sources"]) == ([], 9, {"concurrency": "env"})


def test_half_of_a_limit_can_be_turned_off(client: Client) -> None:
    client.app.state.context.broker.store.limits.declare({}, {}, {"email": 9})
    send(client, "PUT", EMAIL, {"rates": ["100/60s"]})
    (shown,) = send(client, "PUT", EMAIL, {"rates": [], "concurrency": 0}).json()["items"]
    assert (shown["rates"], shown["concurrency"], shown["sources"]) == ([], None, {})


def test_a_limit_is_held_and_released(client: Client) -> None:
    send(client, "PUT", EMAIL, {"rates": ["100/60s"]})
    assert send(client, "POST", f"{EMAIL}/hold", {"seconds": 3600}).json()["held_seconds"] == 3600
    assert 3000 < send(client, "POST", f"{EMAIL}/hold", {"seconds": 5}).json()["held_seconds"] <= 3600
    assert client.get("/api/v1/limits").json()["items"][0]["held_seconds"] > 3000
    assert send(client, "POST", f"{EMAIL}/release").status_code == 200
    assert client.get("/api/v1/limits").json()["items"][0]["held_seconds"] == 0
    keyed = send(client, "POST", f"{EMAIL}/hold", {"seconds": 60, "key": "a.org"}).json()
    assert keyed == {"name": "email", "key": "a.org", "held_seconds": 60}


def test_an_actor_is_paused_and_resumed(client: Client) -> None:
    answer = {"actor": "mail.send", "paused": True, "changed": True}
    assert send(client, "POST", "/api/v1/actors/mail.send/pause").json() == answer
    assert send(client, "POST", "/api/v1/actors/mail.send/pause").json() == answer | {"changed": False}
    assert client.get("/api/v1/limits").json()["paused_actors"] == ["mail.send"]
    assert send(client, "POST", "/api/v1/actors/mail.send/resume").json()["changed"] is True
    assert send(client, "POST", "/api/v1/actors/nosuch/pause").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "data", "pointer"),
    [
        ("PUT", EMAIL, {}, ""),
        ("PUT", EMAIL, [], ""),
        ("PUT", EMAIL, {"rate": "1/s"}, "/rate"),
        ("PUT", EMAIL, {"rates": "1/s"}, "/rates"),
        ("PUT", EMAIL, {"rates": [1]}, "/rates"),
        ("PUT", EMAIL, {"rates": ["many"]}, "/rates"),
        ("PUT", EMAIL, {"rates": ["0/1s"]}, "/rates"),
        ("PUT", EMAIL, {"rates": ["1/1s", "2/1s"]}, "/rates"),
        ("PUT", EMAIL, {"rates": ["5/1s burst 6"]}, "/rates"),
        ("PUT", EMAIL, {"rates": ["5/1ms"]}, "/rates"),
        ("PUT", EMAIL, {"concurrency": -1}, "/concurrency"),
        ("PUT", EMAIL, {"concurrency": True}, "/concurrency"),
        ("PUT", "/api/v1/limits/e%7Cmail", {"concurrency": 1}, "/name"),
        ("POST", f"{EMAIL}/hold", {}, "/seconds"),
        ("POST", f"{EMAIL}/hold", {"seconds": 0}, "/seconds"),
        ("POST", f"{EMAIL}/hold", {"seconds": 1, "key": ""}, "/key"),
    ],
)
def test_what_is_wrong_is_named_and_writes_nothing(
    client: Client,
    snapshot: Callable[[], dict[bytes, bytes]],
    method: str,
    path: str,
    data: Any,
    pointer: str,
) -> None:
    response = send(client, method, path, data)
    assert (response.status_code, pointers(response)) == (422, [pointer])
    assert snapshot() == {}


def test_it_needs_the_scope(settings: Settings, make_client: Callable[..., Client]) -> None:
    client = make_client(replace(settings, api_keys=api_keys("ops:operate:boss,board:read:s3cret")))
    for method, path in (("PUT", EMAIL), ("DELETE", EMAIL), ("POST", f"{EMAIL}/hold")):
        assert send(client, method, path).status_code == 401
        headers = {"authorization": "Bearer s3cret"}
        assert client.request(method, path, headers=headers).status_code == 403

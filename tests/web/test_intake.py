"""Refused for now: the intake is off, the queue is full, Redis is nearly full."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis

from lockstep.embedded import EmbeddedRedis
from lockstep.parsing import api_keys
from lockstep.settings import Settings
from tests.web.client import Client, pointers

ONE, BATCH, INTAKE = "/api/v1/messages", "/api/v1/messages/batch", "/api/v1/intake"
MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}

Make = Callable[[Settings], Client]
Snapshot = Callable[[], dict[bytes, bytes]]


def put(client: Client, data: object, **headers: str) -> httpx.Response:
    options = {"content-type": "application/json", **headers}
    return client.request("PUT", INTAKE, content=json.dumps(data), headers=options)


def test_the_switch(client: Client, snapshot: Snapshot) -> None:
    assert client.get(INTAKE).json() == {"accept": True, "since": None, "why": None}
    assert "lockstep_intake 1.0" in client.get("/metrics").text
    client.post(ONE, MAIL)
    off = put(client, {"accept": False, "why": "moving house"}).json()
    assert (off["accept"], off["why"], off["changed"]) == (False, "moving house", True)
    assert put(client, {"accept": False, "why": "moving house"}).json() == {**off, "changed": False}
    assert "lockstep_intake 0.0" in client.get("/metrics").text
    before = snapshot()
    for path, body in ((ONE, MAIL), (BATCH, {"messages": [MAIL, {"actor": "anything"}]})):
        response = client.post(path, body)
        assert (response.status_code, response.headers["retry-after"]) == (503, "30")
        assert "moving house" in response.json()["detail"]
    assert snapshot() == {**before, **{key: value for key, value in snapshot().items() if b"queues" in key}}
    on = put(client, {"accept": True}).json()
    assert (on["accept"], on["why"], on["changed"]) == (True, None, True)
    assert client.post(ONE, MAIL).status_code == 202


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (None, ""),
        ([], ""),
        ({}, "/accept"),
        *(({"accept": bad}, "/accept") for bad in (None, 0, "true", [])),
        *(({"accept": False, "why": bad}, "/why") for bad in (None, "", 1, "w" * 201)),
        ({"accept": True, "colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_switch_changes_nothing(
    client: Client, snapshot: Snapshot, data: object, pointer: str
) -> None:
    response = put(client, data)
    assert (response.status_code, pointers(response)) == (422, [pointer])
    assert snapshot() == {}


def test_who_may_switch(settings: Settings, make_client: Make) -> None:
    client = make_client(replace(settings, api_keys=api_keys("a:read:R,b:operate:O")))
    assert client.get(INTAKE, authorization="Bearer R").status_code == 200
    assert put(client, {"accept": False}, authorization="Bearer R").status_code == 403
    assert put(client, {"accept": False}, authorization="Bearer O").status_code == 200


@pytest.mark.parametrize("shards", [1, 3])
def test_a_full_queue(settings: Settings, make_client: Make, snapshot: Snapshot, shards: int) -> None:
    client = make_client(replace(settings, queue_shards=shards, max_queue_length=2 * shards))
    grouped = {**MAIL, "group": "g"}
    first = [client.post(ONE, {**grouped, "id": str(n)}).status_code for n in range(2)]
    assert first == [202, 202]
    client.post(ONE, {"actor": "anything"})
    before = snapshot()
    other: dict[str, Any] = {"actor": "anything"}
    for path, body in (
        (ONE, grouped),
        (BATCH, {"messages": [grouped, other]}),
        (BATCH, {"messages": [other, grouped]}),
    ):
        response = client.post(path, body)
        assert (response.status_code, response.headers["retry-after"]) == (429, "5")
    assert snapshot() == before
    assert client.post(ONE, {**grouped, "id": "1"}).status_code == 200
    assert client.post(ONE, other).status_code == 202


def test_redis_nearly_full(lonely_redis: EmbeddedRedis, settings: Settings, make_client: Make) -> None:
    url = f"redis://127.0.0.1:{lonely_redis.port}/0"
    with redis.Redis.from_url(url) as admin:
        used = admin.info("memory")["used_memory"]
        admin.config_set("maxmemory", used * 2)
        client = make_client(replace(settings, redis_url=url))
        assert client.post(ONE, MAIL).status_code == 202
        admin.config_set("maxmemory", int(used * 1.05))
        client = make_client(replace(settings, redis_url=url))  # which has not looked yet
        for path, body in ((ONE, MAIL), (BATCH, {"messages": [MAIL]})):
            response = client.post(path, body)
            assert (response.status_code, response.headers["retry-after"]) == (503, "10")
            assert "nearly full" in response.json()["detail"]
        assert client.get("/api/v1/queues/mail").json()["messages"]["waiting"] == 1

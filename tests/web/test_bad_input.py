"""Whatever a client sends: the right status, a pointer to the field, and nothing written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lockstep.settings import Settings
from tests.web.client import Client, pointers, stream

Snapshot = Callable[[], dict[bytes, bytes]]

ONE = "/api/v1/messages"
BATCH = "/api/v1/messages/batch"
JSON = {"content-type": "application/json"}


def mail(**fields: object) -> bytes:
    return json.dumps({"actor": "mail.send", "kwargs": {"to": "a"}, **fields}).encode()


BODIES: list[tuple[str, bytes, int, str | None]] = [
    # Not JSON, or not the same JSON for every reader: 400, and no field to point at.
    (ONE, b"", 400, None),
    (ONE, b"{", 400, None),
    (ONE, b'{"actor": "mail.send"} x', 400, None),
    (ONE, b"\xff\xfe{\x00}\x00", 400, None),
    (ONE, b"\xef\xbb\xbf{}", 400, None),
    (ONE, b'{"actor": "mail.send", "kwargs": {"to": NaN}}', 400, None),
    (ONE, b'{"actor": "mail.send", "kwargs": {"to": -Infinity}}', 400, None),
    (ONE, b'{"actor": "mail.send", "kwargs": {"to": 1e999}}', 400, None),
    (ONE, b'{"actor": "mail.send", "kwargs": {"to": ' + b"9" * 5000 + b"}}", 400, None),
    (ONE, b'{"actor": "mail.send", "actor": "anything"}', 400, None),
    (ONE, b'{"actor": "anything", "args": [{"a": 1, "a": 2}]}', 400, None),
    (ONE, b"[" * 100_000, 400, None),
    (ONE, b'{"actor": "anything", "args": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, None),
    # JSON, but not a message.
    (ONE, b"null", 422, ""),
    (ONE, b"[]", 422, ""),
    (ONE, b'"mail.send"', 422, ""),
    (ONE, b"{}", 422, "/actor"),
    (ONE, mail(actor=7), 422, "/actor"),
    (ONE, mail(actor="mail.sent"), 404, "/actor"),
    (ONE, mail(actor="../../etc/passwd"), 404, "/actor"),
    (ONE, mail(colour="red"), 422, "/colour"),
    *((ONE, mail(priority=bad), 422, "/priority") for bad in (-1, 10, 1.0, "1", True, None)),
    *((ONE, mail(hold_place=bad), 422, "/hold_place") for bad in (0, 1, "true", None)),
    *((ONE, mail(idempotency_key=bad), 422, "/idempotency_key") for bad in ("", "k" * 256, 1, None, "a\nb")),
    *((ONE, mail(unique=bad), 422, "/unique") for bad in ("", "always", "0s", 10, True, None)),
    (ONE, mail(callback_url="http://x/"), 422, "/callback_url"),
    (ONE, mail(args="a"), 422, "/args"),
    (ONE, mail(args=["a", "b", "c"], kwargs={}), 422, "/args"),
    (ONE, mail(kwargs=["a"]), 422, "/kwargs"),
    (ONE, mail(kwargs={}), 422, "/kwargs/to"),
    (ONE, mail(kwargs={"to": "a", "cc": "b"}), 422, "/kwargs/cc"),
    (ONE, mail(kwargs={"to": "\ud800"}), 422, "/kwargs/to"),
    (ONE, mail(kwargs={"to": 2**64}), 422, "/kwargs/to"),
    (ONE, mail(group=""), 422, "/group"),
    (ONE, mail(group=None), 422, "/group"),
    (ONE, mail(group=["a"]), 422, "/group"),
    (ONE, mail(group="g" * 257), 422, "/group"),
    (ONE, mail(group="\udfff"), 422, "/group"),
    (ONE, mail(queue="other"), 422, "/queue"),
    (ONE, mail(queue="nowhere"), 422, "/queue"),
    (ONE, mail(id=""), 422, "/id"),
    (ONE, mail(id=1), 422, "/id"),
    (ONE, mail(id="a\r\nLocation: x"), 422, "/id"),
    (ONE, mail(id="i" * 129), 422, "/id"),
    (ONE, mail(delay_ms=-1), 422, "/delay_ms"),
    (ONE, mail(delay_ms=1.5), 422, "/delay_ms"),
    (ONE, mail(delay_ms=10**18), 422, "/delay_ms"),
    (ONE, mail(eta="soon"), 422, "/eta"),
    (ONE, mail(eta=0, delay_ms=0), 422, "/eta"),
    (ONE, mail(max_attempts=0), 422, "/max_attempts"),
    (ONE, mail(max_attempts="3"), 422, "/max_attempts"),
    (ONE, b'{"actor": "anything", "args": [' + b"[" * 300 + b"]" * 300 + b"]}", 422, "/args" + "/0" * 32),
    # Not a batch.
    (BATCH, b"[]", 422, ""),
    (BATCH, b"{}", 422, "/messages"),
    (BATCH, b'{"messages": {}}', 422, "/messages"),
    (BATCH, b'{"messages": []}', 422, "/messages"),
    (BATCH, b'{"messages": [' + b"{}," * 1000 + b"{}]}", 422, "/messages"),
    (BATCH, b'{"messages": [{}], "order": 1}', 422, "/order"),
    (BATCH, b'{"messages": [{}]}', 422, "/messages/0/actor"),
    (BATCH, b'{"messages": [' + mail() + b"," + mail(group=0) + b"]}", 422, "/messages/1/group"),
]


@pytest.mark.parametrize("case", BODIES, ids=range(len(BODIES)))
def test_a_bad_body_is_refused_and_writes_nothing(
    client: Client, snapshot: Snapshot, case: tuple[str, bytes, int, str | None]
) -> None:
    path, body, status, pointer = case
    before = snapshot()
    response = client.post(path, body)
    assert (response.status_code, pointers(response)) == (status, [] if pointer is None else [pointer])
    assert snapshot() == before == {}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "text/json",
        "multipart/form-data",
    ],
)
def test_another_content_type_is_refused(client: Client, snapshot: Snapshot, content_type: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert client.request("POST", ONE, content=mail(), headers=headers).status_code == 415
    assert snapshot() == {}


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;x"]
)
def test_parameters_of_the_content_type_are_allowed(client: Client, content_type: str) -> None:
    response = client.request("POST", ONE, content=mail(), headers={"content-type": content_type})
    assert response.status_code == 202


@pytest.mark.parametrize(("path", "factor"), [(ONE, 1), (BATCH, 16)])
def test_a_long_body_is_refused_with_and_without_a_length(
    client: Client, snapshot: Snapshot, settings: Settings, path: str, factor: int
) -> None:
    limit = settings.max_payload_bytes * factor
    chunk = b" " * 65_536
    for body in (
        {"content": b" " * (limit + 1)},
        {"content": stream([chunk] * (limit // len(chunk)) + [b" "])},
        {"content": b"", "headers": {**JSON, "content-length": "9" * 40}},
    ):
        response = client.request("POST", path, **{"headers": JSON, **body})
        assert response.status_code == 413
    assert (
        client.request(
            "POST", path, content=stream([chunk] * (limit // len(chunk))), headers=JSON
        ).status_code
        == 400
    )
    assert snapshot() == {}


def test_a_body_is_not_read_beyond_its_limit(client: Client, settings: Settings) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    response = client.request("POST", ONE, content=stream(endless()), headers=JSON)
    assert response.status_code == 413
    assert sent <= settings.max_payload_bytes + 2 * 65_536


def test_a_message_too_large_once_encoded_is_refused(
    client: Client, snapshot: Snapshot, settings: Settings
) -> None:
    body = mail(kwargs={"to": "x" * (settings.max_payload_bytes - 60)})
    assert len(body) <= settings.max_payload_bytes
    assert client.post(ONE, body).status_code == 413
    assert snapshot() == {}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/messages/", 404),
        ("GET", "/api/v1/messages/a/b", 404),
        ("GET", "/api/v1/messages/a%2F..%2Fb", 404),
        ("GET", "/api/v1/queues/", 404),
        ("GET", "//api/v1/queues", 404),
        ("GET", "/api/v1/messages/" + "a" * 8000, 404),
        ("GET", "/api/v1/messages/batch", 404),
        ("PUT", "/api/v1/messages", 405),
        ("DELETE", "/api/v1/messages/a", 405),
        ("POST", "/livez", 405),
        ("BREW", "/livez", 405),
        ("OPTIONS", "/api/v1/queues", 405),
    ],
)
def test_unknown_paths_and_methods_are_problems(client: Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert ("allow" in response.headers) == (status == 405)

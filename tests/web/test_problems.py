import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockstep import errors
from tests.web.client import Client, pointers


def raising(client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception) -> httpx.Response:
    def ping() -> None:
        raise error

    monkeypatch.setattr(client.app.state.context.broker.store, "ping", ping)
    return client.get("/readyz")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidMessage("/a", "wrong"), 422),
        (errors.UnknownActor("x"), 404),
        (errors.PayloadTooLarge(2, 1), 413),
        (errors.NotFound("message", "x"), 404),
        (errors.Unauthorized(), 401),
        (errors.Forbidden("read"), 403),
        (errors.RedisUnavailable("at redis://:hunter2@secret.host/"), 503),
        (errors.ScriptFailed("claim", "hunter2 at claim.lua:7"), 500),
        (errors.LockstepError("hunter2"), 500),
        (ValueError("hunter2"), 500),
        (KeyError("hunter2"), 500),
    ],
)
def test_every_error_becomes_its_problem(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    response = raising(client, monkeypatch, error)
    assert response.status_code == status
    assert "hunter2" not in response.text
    assert ("retry-after" in response.headers) == (status == 503)
    assert ("www-authenticate" in response.headers) == (status in {401, 403})
    if isinstance(error, errors.InvalidMessage):
        assert pointers(response) == [error.field]


def test_the_title_is_that_of_the_status(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    response = raising(client, monkeypatch, errors.InvalidMessage("/a", "wrong"))
    assert response.json() == {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "wrong",
        "errors": [{"pointer": "/a", "detail": "wrong"}],
    }


def test_a_client_that_leaves_is_no_defect(client: Client) -> None:
    sent: list[Any] = []
    received = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/messages",
        "raw_path": b"/api/v1/messages",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == 400


def test_no_module_builds_a_problem_of_its_own() -> None:
    for module in (Path(__file__).parents[2] / "web").glob("*.py"):
        text = module.read_text()
        if module.name != "problems.py":
            assert "problem+json" not in text, module
            assert "about:blank" not in text, module
            assert "PlainTextResponse" not in text, module

"""Calls an application without a socket, and checks what is true of every answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from starlette.applications import Starlette


class Client:
    def __init__(self, app: Starlette, base_url: str, peer: str) -> None:
        self.app = app
        self.base_url = base_url
        self.peer = peer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers=_named(headers))

    def post(self, path: str, data: object, **headers: str) -> httpx.Response:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.request(
            "POST", path, content=body, headers={"content-type": "application/json", **_named(headers)}
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(self.peer, 5))
            async with httpx.AsyncClient(transport=transport, base_url=self.base_url) as client:
                return await client.request(method, path, **options)

        response = asyncio.run(call())
        if response.status_code >= 400 and method != "HEAD":
            assert_problem(response)
        return response


def client_of(app: Starlette, *, base_url: str = "http://localhost:7777", peer: str = "127.0.0.1") -> Client:
    return Client(app, base_url, peer)


def assert_problem(response: httpx.Response) -> None:
    """Every error has the shape of RFC 9457, and tells nothing about our insides."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "about:blank"
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    assert all(error["detail"] and isinstance(error["pointer"], str) for error in problem.get("errors", []))
    assert "Traceback" not in response.text
    assert ".py" not in response.text


def pointers(response: httpx.Response) -> list[str]:
    return [error["pointer"] for error in response.json().get("errors", [])]


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body without a length."""
    for chunk in chunks:
        yield chunk


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

"""Send messages over HTTP as a careful client does."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tests.support.waiting import wait_for


def post_message(post: Callable[..., httpx.Response], url: str, message: Mapping[str, Any]) -> str:
    """Send a message with ``post`` until it is accepted, again while Redis does not answer in time; return its id.

    It has an id before it is sent, so that a repeat is known.
    """
    request = {"id": str(uuid.uuid4()), **message}

    def answer() -> httpx.Response | None:
        response = post(f"{url}/api/v1/messages", json=request)
        return None if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else response

    response = wait_for("Redis answers the web process", answer)
    assert response.status_code == httpx.codes.ACCEPTED, response.text
    return str(response.json()["id"])

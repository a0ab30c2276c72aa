"""The service as a load test sees it: a few requests, repeated as a well-behaved client does."""

import asyncio
import random
import time
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import httpx

from lockstep.errors import ServiceAway, ServiceRefused
from lockstep.parsing import is_loopback

#: Seconds that one request may take.
REQUEST_SECONDS: Final = 10.0

#: Connections at once.
CONNECTIONS: Final = 100

#: Seconds between two tries: the first pause, and the longest, also of what Retry-After asks for.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0

#: Statuses that are no fault of the request and may pass.
PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


def make_client(url: str, key: str | None) -> httpx.AsyncClient:
    """A client of the service; proxies of the environment count, but not for this machine."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(REQUEST_SECONDS, pool=None),
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        trust_env=not is_loopback(httpx.URL(url).host),
    )


class Api:
    """Reads what the service knows.

    Each method raises ``ServiceAway`` when it gets no answer within its ``seconds``, and ``ServiceRefused`` when the
    answer says that another try is no use.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, seconds: float, *, none: bool = False) -> Any:
        """The decoded answer; with ``none``, None where there is nothing."""
        deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
        while True:
            try:
                response = await self._client.get(path)
                if response.status_code == httpx.codes.OK:
                    return decoded(response)
                if none and response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code not in PASSING:
                    raise refusal(response)
                said, wait = told(response), retry_after(response) or pause
            except httpx.HTTPError as error:
                said, wait = named(error), pause
            if time.monotonic() + wait > deadline:
                raise ServiceAway(f"{self._client.base_url}: {said}")
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def message(self, message_id: str, seconds: float) -> dict[str, Any] | None:
        """The record of a message; None: there is none."""
        record: dict[str, Any] | None = await self.get(
            f"/api/v1/messages/{quote(message_id, safe='')}", seconds, none=True
        )
        return record


def decoded(response: httpx.Response) -> Any:
    """The JSON object of an answer.

    Raises:
      ServiceRefused: it is none: something else answers there.
    """
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServiceRefused(f"{response.url} is no Lockstep: its answer is no JSON object")
    return value


def refusal(response: httpx.Response) -> ServiceRefused:
    """The error for an answer that says no."""
    return ServiceRefused(
        f"{response.request.method} {response.url}: {told(response)}", status=response.status_code
    )


def told(response: httpx.Response) -> str:
    """What an answer that is no success says, for people."""
    try:
        problem = response.json()
        detail = problem["detail"]
        pointers = [f"{one['pointer']}: {one['detail']}" for one in problem.get("errors", [])]
    except (ValueError, TypeError, KeyError):
        return f"it answered {response.status_code}"
    return f"it answered {response.status_code}: {'; '.join(pointers) or detail}"


def named(error: httpx.HTTPError) -> str:
    """What came instead of an answer."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that an answer asks to wait, spread a little so that not all come at once; None: it asks for nothing."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(0.0, seconds), LONGEST_PAUSE) * random.uniform(1.0, 1.1)

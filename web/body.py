"""Reads the JSON body of a request, whatever a client sends instead."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lockstep import strictjson
from web.problems import MalformedBody, Problem

#: Seconds a client may take to send a body.
BODY_SECONDS: Final = 10.0

#: The body of a batch may be this many times MAX_PAYLOAD_BYTES.
BATCH_FACTOR: Final = 16

#: Bytes that every body may have, as far as ``LimitBodies`` is concerned; no endpoint without messages takes more.
_LEAST_LIMIT: Final = 1 << 20

#: Digits of a declared length that are read; as many are more than any limit.
_DIGITS: Final = 18


class LimitBodies:
    """Middleware: a body has ``BODY_SECONDS`` from the moment it is first read, and the length of the longest batch.

    An endpoint may be stricter. The limits hold for every reader: error trackers such as Sentry read the body of a
    request before its endpoint does, without a deadline.
    """

    def __init__(self, app: ASGIApp, max_payload_bytes: int) -> None:
        self._app = app
        self._most = max(max_payload_bytes * BATCH_FACTOR, _LEAST_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its reader gets 408 or 413 as an exception."""
        if scope["type"] == "http":
            body = _Body(receive, send, self._most)
            await self._app(scope, body.receive, body.send)
        else:
            await self._app(scope, receive, send)


class _Body:
    """What the server hands out of one request."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send = receive, send
        self._most = self._left = most
        self._deadline: float | None = None
        self._over = False  #: nothing of the body is to come, or nobody waits for it before the response

    async def send(self, message: Message) -> None:
        # A response has begun: a stream waits for its client to leave, for as long as that takes.
        self._over = True
        await self._send(message)

    async def receive(self) -> Message:
        """Return the next piece, or that the client has left.

        Raises:
          Problem: 408, the body takes too long; 413, it is too long.
        """
        if self._over:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            if self._over:
                return await self._receive()
            raise Problem(408, "The body did not arrive in time.", {"Connection": "close"}) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_long(self._most)
        self._over = self._over or not message.get("more_body", False)
        return message


def has_body(request: Request) -> bool:
    """Return whether the request declares a body; nothing is read."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "").strip("0") != ""


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request that says it is JSON, at most ``most`` bytes; never holds more than that.

    Raises:
      Problem: 415, it says it is something else, or encoded; 413, it is or says it is too long; 408, it takes too long
        (``LimitBodies``).
    """
    encodings = {
        one.strip().lower() for one in ",".join(request.headers.getlist("content-encoding")).split(",")
    }
    if encodings - {"", "identity"}:
        raise Problem(
            415, "The body must not be compressed or encoded otherwise.", {"Accept-Encoding": "identity"}
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "The body must be application/json.", {"Accept-Post": "application/json"})
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:_DIGITS]) > most:
        raise _too_long(most)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > most:
            raise _too_long(most)
        body += chunk
    return bytes(body)


def _too_long(most: int) -> Problem:
    return Problem(413, f"The body may have at most {most} bytes.")


def parse_json(body: bytes) -> object:
    """The value that a body stands for, exactly: what JSON leaves to the reader is refused.

    Raises:
      MalformedBody: it is no JSON, or not the same JSON for every reader.
    """
    try:
        return strictjson.parse_json(body)
    except ValueError as error:
        raise MalformedBody(f"The body is not JSON: {error}") from None

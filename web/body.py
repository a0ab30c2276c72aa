"""Reads the JSON body of a request, whatever a client sends instead."""

import asyncio
from typing import Final

from starlette.requests import Request

from lockstep import strictjson
from web.problems import MalformedBody, Problem

#: Seconds a client may take to send a body.
BODY_SECONDS: Final = 10.0

#: Digits of a declared length that are read; as many are more than any limit.
_DIGITS: Final = 18


def has_body(request: Request) -> bool:
    """Return whether the request declares a body; nothing is read."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "").strip("0") != ""


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request that says it is JSON, at most ``most`` bytes; never holds more than that.

    Raises:
      Problem: 415, it says it is something else, or encoded; 413, it is or says it is too long; 408, it takes too long.
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
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(request, most)
    except TimeoutError:
        raise Problem(408, "The body did not arrive in time.", {"Connection": "close"}) from None


async def _collect(request: Request, most: int) -> bytes:
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

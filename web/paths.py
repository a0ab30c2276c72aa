"""Percent-encoded path segments: an id or a group may hold any character, a slash too."""

import re
from typing import Final
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from web.problems import response


class Segment(Convertor[str]):
    """One segment of a path, decoded after the path was split."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Decode; bytes that are not UTF-8 become U+FFFD, which no id matches."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """Encode."""
        return quote(value, safe="")


register_url_convertor("segment", Segment())

#: Path of one message; ``format(id=…)`` with a quoted id makes its address.
MESSAGE: Final = "/api/v1/messages/{id:segment}"

#: Path of one queue, and of one group of it.
QUEUE: Final = "/api/v1/queues/{queue:segment}"
GROUP: Final = f"{QUEUE}/groups/{{group:segment}}"

#: Path of one limit, and of one actor.
LIMIT: Final = "/api/v1/limits/{name:segment}"
ACTOR: Final = "/api/v1/actors/{actor:segment}"


def message_path(message_id: str) -> str:
    """The address of one message."""
    return MESSAGE.replace("{id:segment}", quote(message_id, safe=""))


#: A percent-encoded character that means the same when it is not encoded (RFC 3986, 2.3).
_UNRESERVED: Final = re.compile(rb"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")

#: What this server answers to; of the whole server, not of one path.
_METHODS: Final = {"Allow": "GET, HEAD, POST, PUT, DELETE, OPTIONS"}


class RawPath:
    """Middleware: routes match the path as it was sent, so that ``%2F`` does not split a segment.

    Characters that need no encoding are decoded before. Targets that are no path are responded to here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its raw path."""
        app = self._app
        if scope["type"] == "http":
            raw = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
            raw = _UNRESERVED.sub(lambda found: bytes.fromhex(found[1].decode()), raw)
            scope = {**scope, "path": raw.decode("latin-1")}
            if scope["method"] == "CONNECT":
                headers = {**_METHODS, "Connection": "close"}
                app = response(405, "This server is no proxy.", headers=headers)
            elif raw == b"*":
                app = Response(status_code=204, headers=_METHODS)
        await app(scope, receive, send)

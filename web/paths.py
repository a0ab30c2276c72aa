"""Percent-encoded path segments: an id or a group may hold any character, a slash too."""

from typing import Final
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send


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


class RawPath:
    """Middleware: routes match the path as it was sent, so that ``%2F`` does not split a segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its raw path."""
        if scope["type"] == "http":
            raw = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
            scope = {**scope, "path": raw.decode("latin-1")}
        await self._app(scope, receive, send)

"""Problem details (RFC 9457): the one place where an error becomes an answer.

``type`` is ``about:blank``, so ``status`` and ``title`` are those of HTTP; ``errors`` points at the field
that is wrong, as a JSON pointer into the body. No trace, no address and no secret is ever in it.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from lockstep.errors import (
    Forbidden,
    InvalidMessage,
    LockstepError,
    NotAccepted,
    RedisUnavailable,
    Unauthorized,
    WrongState,
    http_status,
)

MEDIA_TYPE: Final = "application/problem+json"

#: Seconds after which a client may try again when Redis is away.
RETRY_AFTER: Final = 2

#: Titles that Python 3.11 still has by their former names.
_TITLES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(HTTPException):
    """Refuses a request; ``detail`` is for people."""


class MalformedBody(Problem):
    """The body is not the JSON that it claims to be."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


def body(
    status: int,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    members: Mapping[str, str] | None = None,
) -> bytes:
    """An encoded problem; its length only depends on what it says."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        **(members or {}),
    }
    if errors:
        problem["errors"] = errors
    return json.dumps(problem).encode("ascii")


def response(
    status: int,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, str] | None = None,
) -> Response:
    """The answer that carries a problem; ``members`` are of its own kind."""
    return Response(body(status, detail, errors, members), status, headers, MEDIA_TYPE)


async def _lockstep_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LockstepError)
    status = http_status(error)
    if isinstance(error, InvalidMessage):
        return response(status, error.problem, errors=[{"pointer": error.field, "detail": error.problem}])
    if isinstance(error, RedisUnavailable):
        # Its own text names the server.
        detail = (
            "Redis does not answer. Nothing is known about this request; a repeat with an id or key is safe."
        )
        return response(status, detail, headers={"Retry-After": str(RETRY_AFTER)})
    if isinstance(error, WrongState):
        return response(status, error.message, members={"id": error.message_id, "state": error.state})
    if isinstance(error, NotAccepted):
        return response(status, error.message, headers={"Retry-After": str(error.retry_after)})
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error
    return response(status, error.message, headers=_challenge(error))


def _challenge(error: LockstepError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": 'Bearer realm="lockstep"'}
    if isinstance(error, Forbidden):
        return {
            "WWW-Authenticate": f'Bearer realm="lockstep", error="insufficient_scope", scope="{error.scope}"'
        }
    return {}


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if not isinstance(error, Problem):
        detail = {404: "There is nothing at this path.", 405: "This path does not take this method."}.get(
            error.status_code, detail
        )
    return response(error.status_code, detail, headers=error.headers)


async def _disconnected(request: Request, error: Exception) -> Response:
    # The client left while it sent its body: nobody reads this answer.
    return response(400, "The client closed the connection.")


async def _defect(request: Request, error: Exception) -> Response:
    # The server logs the exception after this answer; the client only learns that it was not its fault.
    # This answer passes no middleware.
    headers = {"Connection": "close"} if request.app.state.context.draining.begun else None
    return response(500, "Something broke here. The server's log says what.", headers=headers)


#: Exception to handler, for the application.
EXCEPTIONS: Final[dict[Any, ExceptionHandler]] = {
    LockstepError: _lockstep_error,
    HTTPException: _http_exception,
    ClientDisconnect: _disconnected,
    Exception: _defect,
}

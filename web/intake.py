"""The intake: whether new messages are accepted, in the whole fleet."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from lockstep import logs
from lockstep.checks import check_text, check_truth, kind, member
from lockstep.errors import InvalidMessage
from lockstep.views import intake_view
from web.body import parse_json, read_body
from web.context import Context
from web.views import Json

_log = logs.get_logger("lockstep.web")

#: Bytes of a body, and characters of a reason, at most.
_MOST_BYTES: Final = 4096
_MOST_WHY: Final = 200


async def show(request: Request) -> Response:
    """How the intake is switched."""
    context = Context.of(request)
    return Json(intake_view(await context.threads.run(context.broker.store.intake.status)))


async def switch(request: Request) -> Response:
    """Switch it, for everybody, from the next request on."""
    context = Context.of(request)
    fields = _fields(parse_json(await read_body(request, _MOST_BYTES)))
    accept = check_truth(fields.get("accept"), "/accept")
    why = check_text(fields["why"], _MOST_WHY, "/why") if "why" in fields else ""
    intake = context.broker.store.intake
    changed = await context.threads.run(lambda: intake.switch(accept=accept, why=why))
    if changed:
        _log.info("intake.on" if accept else "intake.off", why=why or None)
    status = await context.threads.run(intake.status)
    return Json({**intake_view(status), "changed": changed})


def _fields(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidMessage("", f"expected an object, got {kind(data)}")
    for name in data:
        if name not in ("accept", "why"):
            raise InvalidMessage(member("", name), "no such field; there are: accept, why")
    return data

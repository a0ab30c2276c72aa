"""Schedules: every one with its last and next run; send one at once."""

from starlette.requests import Request
from starlette.responses import Response

from lockstep.scheduler import send_now
from lockstep.views import schedules_view
from web.context import Context
from web.messages import accepted_view
from web.paths import message_path
from web.views import Json


async def index(request: Request) -> Response:
    """What schedulers declare, and which of them live."""
    context = Context.of(request)
    return Json(schedules_view(await context.threads.run(context.broker.store.schedules.listing)))


async def run(request: Request) -> Response:
    """Send a periodic actor at once, beside its ticks: 202."""
    context, name = Context.of(request), request.path_params["name"]
    message, accepted = await context.threads.run(lambda: send_now(context.broker, name))
    return Json(accepted_view(message, accepted), 202, {"Location": message_path(accepted.id)})

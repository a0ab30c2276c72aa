"""The processes of the fleet: all of them, or the workers."""

from starlette.requests import Request
from starlette.responses import Response

from lockstep.processes import ProcessType
from lockstep.processviews import process_view
from web.context import Context
from web.views import Json


async def index(request: Request) -> Response:
    """Every process that was heard of lately."""
    context = Context.of(request)
    records = await context.threads.run(context.broker.store.processes.listing)
    return Json({"items": [process_view(one) for one in records]})


async def workers(request: Request) -> Response:
    """Worker processes: what they take, and what they do."""
    context = Context.of(request)
    records = await context.threads.run(context.broker.store.processes.listing)
    return Json({"items": [process_view(one) for one in records if one.type is ProcessType.WORKER]})

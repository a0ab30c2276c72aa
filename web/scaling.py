"""How many workers there should be."""

from starlette.requests import Request
from starlette.responses import Response

from lockstep.scaling import Hint
from lockstep.scalingviews import hint_view
from web.context import Context
from web.queues import all_counts
from web.views import Json


async def index(request: Request) -> Response:
    """A hint for all workers, and one for each role."""
    context = Context.of(request)
    store = context.broker.store

    def read() -> list[Hint]:
        return store.scaling.hints(all_counts(store), store.processes.listing())

    return Json({"items": [hint_view(one) for one in await context.threads.run(read)]})

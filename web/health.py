"""Is this process alive; can it work?"""

from starlette.requests import Request
from starlette.responses import Response

from web.context import Context
from web.problems import Problem
from web.views import Json


async def live(request: Request) -> Response:
    """The event loop turns. Redis is not asked: its outage must not restart every process."""
    return Json({"status": "alive"})


async def ready(request: Request) -> Response:
    """Redis answers, so that requests can be served, and the process goes on to live; else a 503 problem."""
    context = Context.of(request)
    if context.draining.begun:
        raise Problem(503, "This process is draining: it serves what still comes, and stops soon.")
    await context.threads.run(context.broker.store.ping)
    return Json({"status": "ready"})

"""Operators' switches: pause and resume a queue, or one group of it."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from lockstep import logs
from lockstep.checks import check_group
from lockstep.store import Store
from web.context import Context
from web.views import Json

_log = logs.get_logger("lockstep.web")


async def pause(request: Request) -> Response:
    """Claim nothing more; what runs goes on, what is sent is accepted."""
    return await _switch(request, Store.pause, paused=True)


async def resume(request: Request) -> Response:
    """Claim again, each message at its place."""
    return await _switch(request, Store.resume, paused=False)


async def _switch(
    request: Request, switch: Callable[[Store, str, str | None], bool], *, paused: bool
) -> Response:
    context, queue = Context.of(request), request.path_params["queue"]
    group = request.path_params.get("group")
    if group is not None:
        check_group(group)
    changed = await context.threads.run(lambda: switch(context.broker.store, queue, group))
    if changed:
        _log.info("queue.paused" if paused else "queue.resumed", queue=queue, group=group)
    return Json({"queue": queue, "group": group, "paused": paused, "changed": changed})

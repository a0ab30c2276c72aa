"""What operators do to single messages, and to all that waits."""

import time
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from lockstep import logs
from lockstep.checks import check_group
from lockstep.deadletters import Order
from lockstep.errors import InvalidMessage
from lockstep.store import Store
from lockstep.switches import Switched, Switches
from lockstep.switchviews import switched_view
from web.context import Context
from web.views import Json

_log = logs.get_logger("lockstep.web")

#: Seconds after which one request purges nothing more; the next one goes on.
_PURGE_SECONDS: Final = 0.8


async def cancel(request: Request) -> Response:
    """Take a message back; one that runs is asked to end."""
    return await _change(request, Switches.cancel)


async def promote(request: Request) -> Response:
    """Let a message go on that waits for its time."""
    return await _change(request, Switches.promote)


async def retry(request: Request) -> Response:
    """Try a message again now; a dead letter goes to an end of its group."""
    order = request.query_params.get("order", "tail")
    if order not in ("tail", "head"):
        raise InvalidMessage("/order", "expected tail or head")
    end: Order = "head" if order == "head" else "tail"
    return await _change(request, lambda switches, id_: switches.retry(id_, end))


async def purge(request: Request) -> Response:
    """Take back what waits in a queue, or in one group of it, as much as one request may."""
    context, queue = Context.of(request), request.path_params["queue"]
    group = request.path_params.get("group")
    if group is not None:
        check_group(group)
    store = context.broker.store
    seconds = min(_PURGE_SECONDS, context.settings.redis_timeout / 2)
    answer = await context.threads.run(lambda: _purge(store, queue, group, seconds))
    _log.info("queue.purged", queue=queue, group=group, purged=answer["purged"])
    return Json({"queue": queue, "group": group, **answer})


async def _change(request: Request, change: Callable[[Switches, str], Switched]) -> Response:
    context, message_id = Context.of(request), request.path_params["id"]
    switched = await context.threads.run(lambda: change(context.broker.store.switches, message_id))
    if switched.changed:
        event = "message.cancel_requested" if switched.cancel_requested else f"message.{switched.state}"
        _log.info(event, queue=switched.queue, message_id=message_id)
    return Json(switched_view(switched))


def _purge(store: Store, queue: str, group: str | None, seconds: float) -> dict[str, Any]:
    # If the process dies here, what was purged is gone and the rest waits: the same request goes on.
    deadline, purged, remaining = time.monotonic() + seconds, 0, False
    for number in store.purges.purge(queue, group):
        purged += number
        if time.monotonic() >= deadline:
            remaining = True
            break
    return {"purged": purged, "remaining": remaining}

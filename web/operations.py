"""What operators do to single messages."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from lockstep import logs
from lockstep.switches import Switched, Switches
from lockstep.switchviews import switched_view
from web.context import Context
from web.views import Json

_log = logs.get_logger("lockstep.web")


async def cancel(request: Request) -> Response:
    """Take a message back; one that runs is asked to end."""
    return await _change(request, Switches.cancel)


async def _change(request: Request, change: Callable[[Switches, str], Switched]) -> Response:
    context, message_id = Context.of(request), request.path_params["id"]
    switched = await context.threads.run(lambda: change(context.broker.store.switches, message_id))
    if switched.changed:
        event = f"message.{switched.state}" if not switched.cancel_requested else "message.cancel_requested"
        _log.info(event, queue=switched.queue, message_id=message_id)
    return Json(switched_view(switched))

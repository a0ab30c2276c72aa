"""The groups of a queue: pages of them, or one."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lockstep.checks import check_group, member
from lockstep.errors import InvalidMessage
from lockstep.groups import MAX_PAGE
from lockstep.states import GroupState
from lockstep.survey import GroupOrder
from lockstep.switchviews import group_view
from web.context import Context
from web.views import Json

_PARAMETERS: Final = ("state", "sort", "cursor", "limit")


async def index(request: Request) -> Response:
    """A page of the groups that have messages, of one state or of all; or the deepest or the oldest ones."""
    context, queue = Context.of(request), request.path_params["queue"]
    given = {name for name, value in request.query_params.items() if name != "cursor" or value}
    for name in request.query_params:
        if name not in _PARAMETERS:
            raise InvalidMessage(member("", name), f"no such parameter; there are: {', '.join(_PARAMETERS)}")
    state, cursor = _state(request.query_params.get("state")), request.query_params.get("cursor") or None
    limit, groups = _limit(request.query_params.get("limit", "50")), context.broker.store.groups
    order = _order(request.query_params.get("sort"))
    if order is not None:
        for name in {"state", "cursor"} & given:
            raise InvalidMessage(member("", name), "not together with sort")
        records, exact = await context.threads.run(lambda: groups.ranked(queue, order, limit))
        return Json({"items": [group_view(one) for one in records], "next_cursor": None, "exact": exact})
    page = await context.threads.run(lambda: groups.page(queue, state, cursor=cursor, limit=limit))
    return Json({"items": [group_view(one) for one in page.items], "next_cursor": page.next_cursor})


async def show(request: Request) -> Response:
    """One group: what it is and what it waits for."""
    context, queue = Context.of(request), request.path_params["queue"]
    group = check_group(request.path_params["group"])
    return Json(group_view(await context.threads.run(lambda: context.broker.store.groups.show(queue, group))))


def _state(text: str | None) -> GroupState | None:
    if text is None:
        return None
    try:
        return GroupState(text)
    except ValueError:
        raise InvalidMessage("/state", f"expected one of {', '.join(GroupState)}") from None


def _order(text: str | None) -> GroupOrder | None:
    if text is None:
        return None
    try:
        return GroupOrder(text)
    except ValueError:
        raise InvalidMessage("/sort", f"expected one of {', '.join(GroupOrder)}") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE):
        raise InvalidMessage("/limit", f"expected a number from 1 to {MAX_PAGE}")
    return int(text)

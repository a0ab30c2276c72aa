"""Dead letters: listed, counted by kind, redriven, discarded; and heads that are skipped."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lockstep import logs
from lockstep.checks import check_group
from lockstep.deadrequests import parse_discard, parse_page, parse_redrive
from lockstep.deadviews import changed_view, kind_view, page_view
from lockstep.errors import InvalidMessage
from web.body import parse_json, read_body
from web.context import ANSWER_SECONDS, Context
from web.views import Json, parameters

_log = logs.get_logger("lockstep.web")

#: Bytes of a body of this module, at most: 500 ids.
_MOST: Final = 512 * 1024

#: Of the time that an answer may take, the part after which no new batch begins.
_SHARE: Final = 0.4


async def index(request: Request) -> Response:
    """A page of dead letters, the newest first."""
    context = Context.of(request)
    wanted, cursor, limit = parse_page(parameters(request))
    dead = context.broker.store.dead
    return Json(page_view(await context.threads.run(lambda: dead.page(wanted, cursor=cursor, limit=limit))))


async def summary(request: Request) -> Response:
    """How many there are of each kind."""
    context = Context.of(request)
    given = parameters(request)
    for name in given:
        if name != "queue":
            raise InvalidMessage(f"/{name}", "no such parameter; there is: queue")
    kinds = await context.threads.run(lambda: context.broker.store.dead.summary(given.get("queue")))
    return Json({"items": [kind_view(one) for one in kinds]})


async def redrive(request: Request) -> Response:
    """Let dead letters live again, as many as the time of a request allows."""
    context = Context.of(request)
    chosen, how = parse_redrive(parse_json(await read_body(request, _MOST)))
    changed = await context.threads.run(
        lambda: context.broker.store.dead.redrive(
            chosen.which,
            how,
            dry_run=chosen.dry_run,
            limit=chosen.limit,
            cursor=chosen.cursor,
            seconds=_seconds(context),
        )
    )
    if changed.changed:
        _log.info("dead.redriven", messages=changed.changed, order=how.order)
    return Json(changed_view(changed, "redriven", dry_run=chosen.dry_run))


async def discard(request: Request) -> Response:
    """Forget dead letters, as many as the time of a request allows."""
    context = Context.of(request)
    chosen = parse_discard(parse_json(await read_body(request, _MOST)))
    changed = await context.threads.run(
        lambda: context.broker.store.dead.discard(
            chosen.which, dry_run=chosen.dry_run, cursor=chosen.cursor, seconds=_seconds(context)
        )
    )
    if changed.changed:
        _log.info("dead.discarded", messages=changed.changed)
    return Json(changed_view(changed, "discarded", dry_run=chosen.dry_run))


async def skip(request: Request) -> Response:
    """Take the head off a group."""
    context, queue = Context.of(request), request.path_params["queue"]
    group = check_group(request.path_params["group"])
    message_id = await context.threads.run(lambda: context.broker.store.dead.skip(queue, group))
    _log.info("message.skipped", queue=queue, group=group, message_id=message_id)
    return Json({"queue": queue, "group": group, "skipped": message_id})


def _seconds(context: Context) -> float:
    return _SHARE * min(ANSWER_SECONDS, context.settings.redis_timeout)

"""Queues in numbers."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from lockstep.errors import NotFound
from lockstep.records import QueueCounts
from lockstep.store import Store
from lockstep.switchviews import extremes_view
from lockstep.views import queue_view
from web.context import Context
from web.views import Json, status_view


async def index(request: Request) -> Response:
    """Every queue: messages and groups in each state, age of the oldest, totals."""
    context = Context.of(request)
    counts = await context.threads.run(lambda: list(all_counts(context.broker.store)))
    return Json({"items": [queue_view(one) for one in counts]})


async def show(request: Request) -> Response:
    """One queue, with its deepest and its oldest group."""
    context, name = Context.of(request), request.path_params["queue"]
    store = context.broker.store
    counts, ranking = await context.threads.run(lambda: (store.counts(name), store.survey.ranking(name)))
    return Json({**queue_view(counts), **extremes_view(ranking)})


async def status(request: Request) -> Response:
    """The same under the names of older systems: waiting, active, completed, failed, delayed."""
    context = Context.of(request)
    return Json(status_view(await context.threads.run(lambda: list(all_counts(context.broker.store)))))


def all_counts(store: Store) -> Iterator[QueueCounts]:
    """The numbers of each queue, by name."""
    for name in store.queues():
        try:
            yield store.counts(name)
        except NotFound:
            continue  # it went away between the two calls

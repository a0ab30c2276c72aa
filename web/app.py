"""The application: a route table, a middleware list and an exception map."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from lockstep.broker import LockstepBroker
from lockstep.ending import end_process
from lockstep.errors import LockstepError
from lockstep.modules import import_actors
from lockstep.processes import ProcessState, ProcessType
from lockstep.reaper import Reaper
from lockstep.reporting import Look, Reporter, identity
from lockstep.service import Service
from lockstep.settings import Settings
from web.body import LimitBodies
from web.context import ANSWER_SECONDS, THREADS, Context, Threads
from web.draining import CloseConnections
from web.feed import Feed
from web.fleet import read_fleet
from web.paths import RawPath
from web.problems import EXCEPTIONS
from web.recorder import RecordRequests
from web.routes import ENDPOINTS


def create_app(broker: LockstepBroker, settings: Settings) -> Starlette:
    """The application over one broker; it connects to Redis when a request needs it."""
    threads = Threads(min(ANSWER_SECONDS, settings.redis_timeout))
    feed = Feed(lambda: threads.run(lambda: read_fleet(broker.store)))
    context = Context(broker, settings, threads, feed)
    middleware = [
        Middleware(CloseConnections, draining=context.draining),
        Middleware(RawPath),
        Middleware(RecordRequests, recorder=context.recorder),
        Middleware(LimitBodies, max_payload_bytes=settings.max_payload_bytes),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Recovery must not depend on a worker being alive: every web process reaps as well.
        reaper = Service(
            "reaper", Reaper(broker.store, broker.store.queues, deliver=broker.deliver), end_process
        )
        reaper.start()
        serving = threading.Event()
        reporter = make_reporter(context, serving)
        reporter.start()
        context.draining.listen(settings.web_drain_seconds, reporter.wake, context.feed.close)
        with suppress(LockstepError):  # then the reaper does it
            await context.threads.run(broker.store.intake.boot)
        serving.set()
        yield
        context.draining.begun = True
        reaper.stop()
        await asyncio.to_thread(reporter.leave, settings.redis_timeout)
        context.threads.close()

    app = Starlette(
        routes=[Route(e.path, e.answer, methods=[e.method]) for e in ENDPOINTS],
        middleware=middleware,
        exception_handlers=EXCEPTIONS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path with a slash too many is unknown, like any other
    app.state.context = context
    return app


def make_reporter(context: Context, serving: threading.Event) -> Reporter:
    """What says to Redis how this process is: ready once it serves and Redis has answered it."""

    def look(reporter: Reporter) -> Look:
        if context.draining.begun:
            state = ProcessState.DRAINING
        else:
            state = ProcessState.READY if serving.is_set() and reporter.heard else ProcessState.STARTING
        return Look(state, context.recorder.busy, context.recorder.answered)

    broker = context.broker
    process = identity(ProcessType.WEB, broker.owner, context.settings, capacity=THREADS)
    return Reporter(broker.store.processes, process, look)


def build() -> Starlette:
    """The application over the broker of ``actors``: ``uvicorn --factory web.app:build``."""
    actors = import_actors()  # reads the settings: not before somebody wants the application
    return create_app(actors.broker, actors.settings)

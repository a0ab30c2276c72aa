"""The application: a route table, a middleware list and an exception map."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lockstep.broker import LockstepBroker
from lockstep.errors import RedisUnavailable
from lockstep.reaper import Reaper
from lockstep.service import EXIT_BROKEN, Service
from lockstep.settings import Settings
from web import (
    dead,
    groups,
    health,
    intake,
    limits,
    messages,
    operations,
    queues,
    schedules,
    scrape,
    switches,
)
from web.auth import authorize, check_local
from web.context import ANSWER_SECONDS, Context, Threads
from web.paths import ACTOR, GROUP, LIMIT, MESSAGE, QUEUE, RawPath
from web.problems import EXCEPTIONS
from web.recorder import RecordRequests

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """One line of the route table; without a scope, no API key is asked for."""

    method: str
    path: str
    handler: Handler
    scope: str | None = None

    @property
    def template(self) -> str:
        """The path as people write it."""
        return self.path.replace(":segment", "")

    async def answer(self, request: Request) -> Response:
        """Check who calls, then handle the request."""
        settings = Context.of(request).settings
        request.scope["lockstep.route"] = self.template
        check_local(request, settings)
        if self.scope is not None:
            authorize(request, settings, self.scope)
        return await self.handler(request)


ENDPOINTS: Final = (
    Endpoint("POST", "/api/v1/messages", messages.create, "enqueue"),
    Endpoint("POST", "/api/v1/messages/batch", messages.create_batch, "enqueue"),
    Endpoint("GET", "/api/v1/messages", messages.index, "read"),
    Endpoint("GET", MESSAGE, messages.show, "read"),
    Endpoint("POST", f"{MESSAGE}/cancel", operations.cancel, "operate"),
    Endpoint("POST", f"{MESSAGE}/promote", operations.promote, "operate"),
    Endpoint("POST", f"{MESSAGE}/retry", operations.retry, "operate"),
    Endpoint("GET", "/api/v1/queues", queues.index, "read"),
    Endpoint("GET", QUEUE, queues.show, "read"),
    Endpoint("POST", f"{QUEUE}/pause", switches.pause, "operate"),
    Endpoint("POST", f"{QUEUE}/resume", switches.resume, "operate"),
    Endpoint("POST", f"{QUEUE}/purge", operations.purge, "operate"),
    Endpoint("GET", f"{QUEUE}/groups", groups.index, "read"),
    Endpoint("GET", GROUP, groups.show, "read"),
    Endpoint("POST", f"{GROUP}/pause", switches.pause, "operate"),
    Endpoint("POST", f"{GROUP}/resume", switches.resume, "operate"),
    Endpoint("POST", f"{GROUP}/skip", dead.skip, "operate"),
    Endpoint("GET", "/api/v1/dead", dead.index, "read"),
    Endpoint("GET", "/api/v1/dead/summary", dead.summary, "read"),
    Endpoint("POST", "/api/v1/dead/redrive", dead.redrive, "operate"),
    Endpoint("POST", "/api/v1/dead/discard", dead.discard, "operate"),
    Endpoint("POST", f"{GROUP}/purge", operations.purge, "operate"),
    Endpoint("GET", "/api/v1/workers", groups.workers, "read"),
    Endpoint("GET", "/api/v1/intake", intake.show, "read"),
    Endpoint("PUT", "/api/v1/intake", intake.switch, "operate"),
    Endpoint("GET", "/api/v1/schedules", schedules.index, "read"),
    Endpoint("POST", "/api/v1/schedules/{name:segment}/run", schedules.run, "operate"),
    Endpoint("GET", "/api/v1/limits", limits.index, "read"),
    Endpoint("PUT", LIMIT, limits.change, "operate"),
    Endpoint("DELETE", LIMIT, limits.reset, "operate"),
    Endpoint("POST", f"{LIMIT}/hold", limits.hold, "operate"),
    Endpoint("POST", f"{LIMIT}/release", limits.release, "operate"),
    Endpoint("POST", f"{ACTOR}/pause", limits.pause_actor, "operate"),
    Endpoint("POST", f"{ACTOR}/resume", limits.resume_actor, "operate"),
    Endpoint("GET", "/queue/status", queues.status, "read"),
    Endpoint("GET", "/livez", health.live),
    Endpoint("GET", "/readyz", health.ready),
    Endpoint("GET", "/metrics", scrape.scrape),
)


def create_app(broker: LockstepBroker, settings: Settings) -> Starlette:
    """The application over one broker; it connects to Redis when a request needs it."""
    context = Context(broker, settings, Threads(min(ANSWER_SECONDS, settings.redis_timeout)))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Recovery must not depend on a worker being alive: every web process reaps as well.
        reaper = Service("reaper", Reaper(broker.store, broker.store.queues), _exit_broken)
        reaper.start()
        with suppress(RedisUnavailable):  # then the reaper does it
            await context.threads.run(broker.store.intake.boot)
        yield
        reaper.stop()
        context.threads.close()

    app = Starlette(
        routes=[Route(e.path, e.answer, methods=[e.method]) for e in ENDPOINTS],
        middleware=[Middleware(RawPath), Middleware(RecordRequests, recorder=context.recorder)],
        exception_handlers=EXCEPTIONS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path with a slash too many is unknown, like any other
    app.state.context = context
    return app


def _exit_broken() -> None:
    os._exit(EXIT_BROKEN)


def build() -> Starlette:
    """The application over the broker of ``actors``: ``uvicorn --factory web.app:build``."""
    import actors  # noqa: PLC0415  (reads the settings: not before somebody wants the application)

    return create_app(actors.broker, actors.settings)

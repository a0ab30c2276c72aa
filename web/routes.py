"""The route table: every endpoint with the scope that it needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from web import (
    dead,
    events,
    groups,
    health,
    intake,
    limits,
    messages,
    operations,
    processes,
    queues,
    scaling,
    schedules,
    scrape,
    switches,
)
from web.auth import authorize, check_local
from web.context import Context
from web.paths import ACTOR, GROUP, LIMIT, MESSAGE, QUEUE

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
    Endpoint("GET", "/api/v1/workers", processes.workers, "read"),
    Endpoint("GET", "/api/v1/processes", processes.index, "read"),
    Endpoint("GET", "/api/v1/scaling", scaling.index, "read"),
    Endpoint("GET", "/api/v1/intake", intake.show, "read"),
    Endpoint("PUT", "/api/v1/intake", intake.switch, "operate"),
    Endpoint("GET", "/api/v1/events", events.stream, "read"),
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

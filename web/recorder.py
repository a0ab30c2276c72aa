"""Counts the requests of this process, in the same fields that the stats in Redis have."""

import time
from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lockstep.metrics import HTTP_DURATION, HTTP_REQUESTS, histogram_fields, stats_field

#: Anything else is counted as OTHER: a client must not be able to make up labels.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Recorder:
    """The counters; used in the event loop only."""

    def __init__(self) -> None:
        self.stats: Counter[str] = Counter()
        self.busy = 0  #: requests in work
        self.answered = 0

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in METHODS else "OTHER"
        self.answered += 1
        self.stats[stats_field(HTTP_REQUESTS, method, route, str(status))] += 1
        self.stats.update(histogram_fields(HTTP_DURATION, (method, route), seconds))


class RecordRequests:
    """Middleware: counts each request by its route template; paths that match none are ``unmatched``."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count its answer."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        self._recorder.busy += 1
        counted = False
        status = 500  # what an exception that comes through here will be answered with

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if "lockstep.endless" in scope:
                    count()  # it is answered now: how long a client listens is no duration
            await send(message)

        def count() -> None:
            nonlocal counted
            counted = True
            self._recorder.busy -= 1
            route = scope.get("lockstep.route", "unmatched")
            self._recorder.observe(scope["method"], route, status, time.perf_counter() - started)

        try:
            await self._app(scope, receive, note_status)
        finally:
            if not counted:
                count()

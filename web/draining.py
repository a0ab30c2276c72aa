"""How a web process stops: first it only says so and serves on, so that clients and balancers can turn away.

From the first SIGTERM (or SIGINT) on, for WEB_DRAIN_SECONDS, the process is not ready and each answer closes its
connection. Then event streams end, nothing more is accepted, and requests in work are answered. A second signal
changes nothing: Procfile platforms signal a process directly and through its group.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Draining:
    """Whether this process stops; used in its event loop only."""

    def __init__(self) -> None:
        self.begun = False  #: not ready, and each answer closes its connection
        self._asked = False

    def listen(self, seconds: float, on_begin: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Stand before uvicorn's own handlers of signals: they hear of the first one when ``seconds`` have passed.

        ``on_begin`` is called first, ``on_end`` then, just before uvicorn stops to listen: streams must end there.
        Where something else than uvicorn handles signals, or this is not the main thread, nothing is changed.
        """
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return

        def ask(signum: int, frame: FrameType | None, stop: Callable[[int, None], object]) -> None:
            # A handler only takes note, and takes no lock: what it interrupts may be anything, this handler too.
            if not self._asked:
                self._asked = True
                loop.call_soon_threadsafe(begin, signum, stop)

        def begin(signum: int, stop: Callable[[int, None], object]) -> None:
            self.begun = True
            on_begin()
            loop.call_later(seconds, end, signum, stop)

        def end(signum: int, stop: Callable[[int, None], object]) -> None:
            on_end()
            stop(signum, None)

        for signum in (signal.SIGTERM, signal.SIGINT):
            former = signal.getsignal(signum)
            if callable(former) and isinstance(getattr(former, "__self__", None), uvicorn.Server):
                signal.signal(signum, partial(ask, stop=former))


class CloseConnections:
    """Middleware: while the process drains, each answer says that its connection is closed after it."""

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what decides is the moment of its answer."""

        async def close(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining.begun:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, close if scope["type"] == "http" else send)

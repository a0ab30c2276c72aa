"""One web process: uvicorn with our limits, our logs and our way to stop."""

import asyncio
import os
import signal
import socket
import stat
from contextlib import suppress
from types import FrameType
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette

from lockstep import logs
from lockstep.modules import import_actors
from lockstep.settings import Settings
from lockstep.signals import ignore_stops
from web.app import create_app
from web.auth import check_exposure
from web.protocol import HEAD_BYTES, DeadlineProtocol

#: Seconds that requests in work may take once the process was told to stop.
GRACE_SECONDS: Final = 10

#: Seconds that a client has which had connected, but not asked, when this process stopped listening: its request is
#: on the way.
EXPECTED_SECONDS = 1.0

#: Connections that wait to be accepted.
BACKLOG: Final = 1024

_log = structlog.get_logger("lockstep.web")


class Server(uvicorn.Server):
    """Stops in order on SIGTERM or SIGINT, however often they come, and returns instead of dying by them.

    Procfile platforms signal a process directly and through its group: the second signal means nothing new.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in work or on the way; event streams have no end of their own."""
        app = self.config.app
        assert isinstance(app, Starlette)
        app.state.context.feed.close()
        for one in (*self.servers, *(sockets or ())):
            one.close()
        await self._wait_for_expected()
        await super().shutdown(sockets)

    async def _wait_for_expected(self) -> None:
        """Let requests come whose connections were accepted; uvicorn would close these unheard."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + EXPECTED_SECONDS
        while True:
            await asyncio.sleep(0.02)  # also for what was accepted just now, and is no connection yet
            expected = any(getattr(one, "expected", False) for one in self.server_state.connections)
            if not expected or loop.time() >= deadline:
                return

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Answer what is in work, then stop."""
        self.should_exit = True


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; answers the exit code.

    Raises:
      InvalidSettings: it would be open to others without API keys.
    """
    actors = import_actors()  # connects nothing, but must see the environment of this process
    logs.configure(settings)
    check_exposure(settings)
    try:
        listener = inherited() or listen(settings.bind_host, settings.port)
    except OSError as error:
        _log.error("web.failed", host=settings.bind_host, port=settings.port, error=str(error))
        return 1
    host, port = listener.getsockname()[:2]
    server = make_server(create_app(actors.broker, settings))
    for signum in (signal.SIGTERM, signal.SIGINT):  # also before uvicorn listens to them, and after
        signal.signal(signum, server.handle_exit)
    _log.info("web.started", host=host, port=port)
    with suppress(SystemExit):  # how uvicorn says that the application does not start; older releases return
        server.run(sockets=[listener])
    ignore_stops()
    actors.broker.close()
    if not server.started:  # the line before says why
        _log.error("web.failed", host=host, port=port, error="the application did not start")
        return 1
    _log.info("web.stopped")
    return 0


def make_server(app: Starlette) -> Server:
    """A server with our limits; ``run(sockets=[…])`` serves until it is told to stop."""
    config = uvicorn.Config(
        app,
        http=DeadlineProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    return Server(config)


def inherited() -> socket.socket | None:
    """The listening socket that this process was started with as its descriptor 0; None: there is none.

    supervisord holds it and gives it to each web process. It is shared, so it goes on accepting for the others when
    this process closes its own.
    """
    with suppress(OSError):
        if stat.S_ISSOCK(os.fstat(0).st_mode):
            # The protocol is named, since asyncio only turns Nagle's delay off where it is.
            given = socket.socket(fileno=os.dup(0))
            given = socket.socket(given.family, given.type, socket.IPPROTO_TCP, given.detach())
            if given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                # Whoever reads standard input must not get at it.
                nothing = os.open(os.devnull, os.O_RDONLY)
                os.dup2(nothing, 0)
                os.close(nothing)
                return given
            given.close()
    return None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
      OSError: the address is in use or not ours.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )[0]
    # The protocol is named, since asyncio only turns Nagle's delay off where it is.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener

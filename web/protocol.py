"""HTTP/1.1 as uvicorn speaks it, with a deadline for requests and problem details for what is no HTTP."""

import asyncio
import socket
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from web import problems
from web.requests import Requests

#: Seconds a client may take until the head of its request is complete.
HEAD_SECONDS: Final = 10.0

#: Bytes that the head of a request may have.
HEAD_BYTES: Final = 16_384

#: Milliseconds after which the kernel closes a connection whose client takes nothing of what is sent to it, or is gone.
STALLED_MS: Final = 60_000


class DeadlineProtocol(H11Protocol):
    """Closes connections that hold a place without asking for anything.

    The deadline runs while bytes may come that belong to no request in work: from the connection on, and
    again from the first byte after an answer. The time for a body is limited where the body is read.
    """

    _deadline: asyncio.TimerHandle | None = None
    _half_closed = False  #: the client sends no more, but may still read

    def __init__(self, config: uvicorn.Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.conn = Requests(h11.SERVER, config.h11_max_incomplete_event_size or HEAD_BYTES)

    @property
    def expected(self) -> bool:
        """Whether the head of a request may be on its way: the client has just connected, or has begun to send it."""
        return self._deadline is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline with the connection."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if (
            connection is not None
            and hasattr(socket, "TCP_USER_TIMEOUT")
            and connection.family != socket.AF_UNIX
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        """Stop the deadline when a request is complete enough to be worked on."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_deadline()
        else:
            self._start_deadline()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Respond to what the client asked before it closed its side; returns whether the connection stays open."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.response_started:
            if cycle.more_body:  # of a body that never ends
                self.conn.receive_data(b"")
                self.handle_events()
            self._half_closed = True
            return True
        if self.conn.trailing_data[0]:  # the head of a request that never ends
            self.send_400_response("The request is incomplete.")
        # A client that leaves while it is sent an endless stream is gone.
        return False

    def on_response_complete(self) -> None:
        """Close the connection after the last response to a client that sends no more."""
        super().on_response_complete()
        if self._half_closed and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline with the connection."""
        self._stop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem, unless an answer has begun already."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            content = problems.body(400, msg)
            headers: list[tuple[str, Any]] = [
                ("content-type", problems.MEDIA_TYPE),
                ("content-length", str(len(content))),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_deadline(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

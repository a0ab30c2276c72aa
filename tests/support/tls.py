"""A TLS endpoint in front of a server of this machine, as platforms put before their Redis."""

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import trustme

from tests.support.waiting import PATIENCE

_CHUNK = 1 << 16


class Authority:
    """Somebody who signs certificates, whom nobody else has heard of."""

    def __init__(self, directory: Path, name: str) -> None:
        self._authority = trustme.CA()
        self.file = directory / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def context(self, *names: str) -> ssl.SSLContext:
        """What a server needs that goes by these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


class TlsEndpoint:
    """Forwards what comes over TLS to a port of this machine."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.accepted = 0  #: connections whose handshake was whole
        self._server = ("127.0.0.1", port)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.url = f"rediss://localhost:{self._listener.getsockname()[1]}/0"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Close every connection and end every thread."""
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _start(self, work: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # a client that trusts nobody hangs up
            client.settimeout(10)
            with self._context.wrap_socket(client, server_side=True) as secure:
                self.accepted += 1
                with socket.create_connection(self._server) as server:
                    self._forward(secure, server)

    def _forward(self, secure: ssl.SSLSocket, server: socket.socket) -> None:
        secure.settimeout(None)
        self._ends += [secure, server]
        down = self._start(_pump, server, secure)
        _pump(secure, server)
        down.join(PATIENCE)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

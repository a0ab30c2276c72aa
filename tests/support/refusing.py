"""A TCP proxy before Redis that understands the protocol and replies itself to chosen commands, with any bytes."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

#: Whether a command, as its parts, is not passed on.
Chooses = Callable[[list[bytes]], bool]


def every(parts: list[bytes]) -> bool:
    """Choose every command."""
    return True


def naming(*words: str) -> Chooses:
    """Choose commands of which a part contains one of the words: a command's name, a script's SHA-1, a key."""
    wanted = [word.encode().upper() for word in words]
    return lambda parts: any(word in part.upper() for part in parts[:4] for word in wanted)


class RefusingProxy:
    """Passes each command on and its reply back, unless it was told to reply by itself."""

    def __init__(self, port: int) -> None:
        self.refused = 0  #: commands that were not passed on
        self._server = ("127.0.0.1", port)
        self._rule: tuple[Chooses, bytes] | None = None
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self, reply: str | bytes, chooses: Chooses = every) -> None:
        """Reply this line to the commands that are chosen, from now on; an empty one closes the connection."""
        line = reply.encode() if isinstance(reply, str) else reply
        self._rule = (chooses, line + b"\r\n" if line else b"")

    def allow(self) -> None:
        """Pass everything on again."""
        self._rule = None

    @contextmanager
    def refusing(self, reply: str | bytes, chooses: Chooses = every) -> Iterator[None]:
        """Refuse during the block."""
        self.refuse(reply, chooses)
        try:
            yield
        finally:
            self.allow()

    def close(self) -> None:
        """Close every connection."""
        for one in (self._listener, *list(self._sockets)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError), client, socket.create_connection(self._server) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets |= {client, server}
            try:
                self._relay(client, server)
            finally:
                self._sockets -= {client, server}
                with suppress(OSError):  # the files below keep the descriptor open
                    client.shutdown(socket.SHUT_RDWR)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        asked, answered = client.makefile("rb"), server.makefile("rb")
        while True:
            command, parts = _read(asked)
            rule = self._rule
            if rule is not None and rule[0](parts):
                self.refused += 1
                if not rule[1]:
                    return
                client.sendall(rule[1])
            else:
                server.sendall(command)
                client.sendall(_read(answered)[0])


def _read(source: BinaryIO) -> tuple[bytes, list[bytes]]:
    """Read one command or reply; return its bytes, and the strings in it."""
    line = source.readline()
    if not line:
        raise EOFError
    kind, number = line[:1], line[1:-2]
    if kind == b"$" and number != b"-1":
        body = source.read(int(number) + 2)
        return line + body, [body[:-2]]
    if kind == b"*" and number != b"-1":
        found = [_read(source) for _ in range(int(number))]
        return line + b"".join(raw for raw, _ in found), [part for _, parts in found for part in parts]
    return line, []

"""HTTP as bytes on a socket, for what a proper client would not send."""

import re
import socket

from tests.support.waiting import PATIENCE

HEAD = b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Wire:
    """One connection; reads whole answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer; (0, b"") when the server closed the connection."""
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = self.socket.recv(1)
            if not chunk:
                return 0, b""
            head += chunk
        found = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        length = int(found[1]) if found else 0
        content = b""
        while len(content) < length:
            content += self.socket.recv(length - len(content))
        return int(head.split(b" ")[1]), content

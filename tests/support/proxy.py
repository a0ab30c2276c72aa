"""A TCP proxy in front of Redis: a network that is slow, cuts off whoever goes through it, or loses an answer."""

import socket
import threading
import time
from contextlib import suppress

from tests.support.waiting import PATIENCE

_CHUNK = 1 << 16


class _Pair:
    """One connection of a client, and the connection to the server that stands for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.answer_lost = False  #: the next thing that the server says is thrown away

    def reset(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.reset()
        self.client.close()
        self.server.close()


class Proxy:
    """Forwards every connection to a server on this machine until it is told to break something."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0  #: seconds that each answer is late
        self.lost = 0  #: answers that were thrown away
        self.held_up = 0  #: times that something had to wait because the network was cut
        self._server = ("127.0.0.1", port)
        self._to_lose: list[bytes] = []
        self._open = threading.Event()
        self._open.set()
        self._refuse = False
        self._pairs: set[_Pair] = set()
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose_answer(self, word: str) -> None:
        """Let the next request that contains ``word`` reach the server, and close its connection instead of
        answering."""
        with self._guard:
            self._to_lose.append(word.encode())

    def cut(self, *, reset: bool) -> None:
        """Let nothing through: close and refuse connections, or (half-open) swallow what is sent for now."""
        self._open.clear()
        self._refuse = reset
        if reset:
            for pair in self._all():
                self.held_up += 1
                pair.reset()

    def heal(self) -> None:
        """Let everything through again; what was swallowed arrives now, as after a lost route."""
        self._refuse = False
        self._open.set()

    def close(self) -> None:
        """Close every connection and end every thread."""
        self.heal()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._all():
            pair.reset()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _all(self) -> list[_Pair]:
        with self._guard:
            return list(self._pairs)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            if self._refuse:
                raise ConnectionRefusedError
            pair = _Pair(client, socket.create_connection(self._server))
        except OSError:
            client.close()
            return
        for end in (pair.client, pair.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._guard:
            self._pairs.add(pair)
        pumps = [threading.Thread(target=pump, args=(pair,), daemon=True) for pump in (self._up, self._down)]
        self._threads += pumps
        for thread in pumps:
            thread.start()

    def _up(self, pair: _Pair) -> None:
        with suppress(OSError):
            while request := pair.client.recv(_CHUNK):
                self._wait_open()
                with self._guard:
                    word = next((word for word in self._to_lose if word in request), None)
                    if word is not None:
                        self._to_lose.remove(word)
                        pair.answer_lost = True
                pair.server.sendall(request)
        pair.reset()

    def _down(self, pair: _Pair) -> None:
        with suppress(OSError):
            while answer := pair.server.recv(_CHUNK):
                self._wait_open()
                if pair.answer_lost:  # the answer is lost here: the server has done what it was asked
                    self.lost += 1
                    break
                if self.delay:
                    time.sleep(self.delay)
                pair.client.sendall(answer)
        pair.reset()
        with self._guard:
            self._pairs.discard(pair)
        pair.close()

    def _wait_open(self) -> None:
        if not self._open.is_set():
            self.held_up += 1
            self._open.wait()

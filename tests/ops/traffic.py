"""Clients that send numbered messages over HTTP while a test does something to the fleet, and what became of it all."""

import http.client
import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.waiting import PATIENCE

#: The module of the actor; its directory must be that in which the workers run.
ACTOR = """
import os, time
import dramatiq

LINES = os.open("runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@dramatiq.actor(actor_name="number", queue_name="messages", group_by="{group}")
def number(group, n, sent):
    begun = time.time()
    time.sleep(0.02)
    os.write(LINES, f"{group} {n} {begun - sent:.3f}\\n".encode())
"""

PATH = "/api/v1/messages"
#: Seconds without a request after which a naive client, which this machine held up, takes a new connection: one that
#: says nothing for as long as a web process drains cannot hear that its connection will be closed.
HELD_UP = 1.0


@dataclass
class Tally:
    """What the clients saw."""

    sent: dict[str, int] = field(
        default_factory=lambda: defaultdict(int)
    )  #: group -> numbers accepted: 1 to this
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    events: int = 0
    streams: int = 0


class Traffic:
    """Clients at a steady rate until they are told to stop; none of them tries anything again."""

    def __init__(self, port: int) -> None:
        self.tally = Tally()
        self._port = port
        self._begun = time.monotonic()
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        pooled = [(f"pooled-{n}", self._pooled, 1 / 6) for n in range(2)]
        clients: list[tuple[str, Callable[[str, float], None], float]] = [
            *pooled,
            ("naive-0", self._naive, 1 / 6),
            ("naive-1", self._naive, 1 / 6),
            ("fresh", self._fresh, 1 / 6),
        ]
        self._threads = [
            threading.Thread(target=self._guarded, args=(name, run, each)) for name, run, each in clients
        ]
        self._threads += [
            threading.Thread(target=self._guarded, args=(name, run, each))
            for name, run, each in (("slow", self._slow, 1.0), ("stream", self._stream, 0.0))
        ]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    # -- clients ------------------------------------------------------------------------------------------------

    def _pooled(self, name: str, each: float) -> None:
        """Keeps connections, and looks whether one was closed before it uses it."""
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=PATIENCE
        ) as client:
            for body in self._bodies(name, each):
                answer = client.post(PATH, content=body, headers={"Content-Type": "application/json"})
                self._note(name, body, answer.status_code, answer.text)

    def _naive(self, name: str, each: float) -> None:
        """Keeps its connection until an answer says that it is closed, and does not notice anything else."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        used = 0.0
        for body in self._bodies(name, each):
            if time.monotonic() - used > HELD_UP:
                connection.close()
            if connection.sock is None:
                connection.connect()
            connection.auto_open = False
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self._note(name, body, answer.status, answer.read())
            used = time.monotonic()
        connection.close()

    def _fresh(self, name: str, each: float) -> None:
        """A connection for each request."""
        for body in self._bodies(name, each):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            connection.request(
                "POST", PATH, body, {"Content-Type": "application/json", "Connection": "close"}
            )
            answer = connection.getresponse()
            self._note(name, body, answer.status, answer.read())
            connection.close()

    def _slow(self, name: str, each: float) -> None:
        """A request each second whose body takes three."""
        running: list[threading.Thread] = []
        for number, body in enumerate(self._bodies(name, each, groups=200)):
            thread = threading.Thread(target=self._guarded, args=(f"{name}-{number}", self._trickle, body))
            thread.start()
            running.append(thread)
        for thread in running:
            thread.join(PATIENCE)

    def _trickle(self, name: str, body: Any) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE) as wire:
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            for begin in range(0, len(body), len(body) // 6 + 1):
                wire.sendall(body[begin : begin + len(body) // 6 + 1])
                time.sleep(0.5)
            answer = wire.recv(4096)
            self._note(name, body, int(answer.split()[1]), answer)

    def _stream(self, name: str, each: float) -> None:
        """Reads events, and comes again where a stream ended in order."""
        last = ""
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=PATIENCE
        ) as client:
            while not self._stopping.is_set():
                headers = {"Last-Event-ID": last} if last else {}
                with client.stream("GET", "/api/v1/events", headers=headers) as answer:
                    assert answer.status_code == 200, answer.status_code
                    self.tally.streams += 1
                    for line in answer.iter_lines():
                        if line.startswith("id:"):
                            last = line[3:].strip()
                            self.tally.events += 1
                        if self._stopping.is_set():
                            return

    # -- what they share ----------------------------------------------------------------------------------------

    def _bodies(self, name: str, each: float, groups: int = 4) -> "Any":
        """A body at a time: the next number of the next group of this client."""
        numbers: dict[str, int] = defaultdict(int)
        turn, due = 0, time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            group = f"{name}/{turn % groups}"
            numbers[group] += 1
            yield json.dumps(
                {"actor": "number", "kwargs": {"group": group, "n": numbers[group], "sent": time.time()}}
            ).encode()
            turn, due = turn + 1, due + each

    def _note(self, name: str, body: bytes, status: int, answer: Any) -> None:
        with self._guard:
            self.tally.answers += 1
            if status != 202:
                self.tally.failures.append(f"{name}: {status} {answer!r} after {self._seconds():.1f} s")
                return
            self.tally.sent[json.loads(body)["kwargs"]["group"]] += 1

    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def _guarded(self, name: str, run: Callable[[str, Any], None], argument: Any) -> None:
        try:
            run(name, argument)
        except Exception as error:
            with self._guard:
                self.tally.failures.append(
                    f"{name}: {type(error).__name__}: {error} after {self._seconds():.1f} s"
                )


@dataclass
class Runs:
    """What the actor wrote."""

    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    longest_wait: float = 0.0

    @classmethod
    def read(cls, file: Path) -> "Runs":
        runs = cls()
        for line in file.read_text().splitlines() if file.exists() else ():
            group, number, waited = line.split()
            runs.numbers[group].append(int(number))
            # Their numbers are given three seconds before they are accepted.
            if not group.startswith("slow"):
                runs.longest_wait = max(runs.longest_wait, float(waited))
        return runs

    @property
    def total(self) -> int:
        return sum(map(len, self.numbers.values()))

"""What supervisord tells when a program dies, passed on to people.

supervisord waits for an answer to each event before it sends the next, so it is answered first; a thread sends the
notice. A notice that cannot be sent is a line in the log, and the next is tried anew.
"""

import os
import queue
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Final, TextIO

from lockstep import logs
from lockstep.notices import notify

#: Notices that wait to be sent; those that come when it is full are only logged.
_WAITING: Final = 100
#: Seconds that the notices which wait may take at the end.
_LAST_SECONDS: Final = 5.0

_log = logs.get_logger("lockstep.listener")


def listen(dsn: str | None, source: TextIO | None = None, answers: TextIO | None = None) -> None:
    """Answer supervisord's events until it ends or asks this process to; ``dsn`` None: each is only logged."""
    source, answers = source or sys.stdin, answers or sys.stdout
    sender = _Sender(dsn) if dsn else None
    signal.signal(signal.SIGTERM, _end)
    try:
        while event := _next(source, answers):
            if title := _title(event):
                _log.error("program.died", text=title, **_of(event))
                if sender:
                    sender.put(title, _body(event))
            # It dies here: supervisord sends the event again to the next one.
            answers.write("RESULT 2\nOK")
            answers.flush()
    finally:
        if sender:
            sender.end()


class _Sender:
    """Sends notices one after the other, in a thread."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(_WAITING)
        self._sending = ""  #: title of the notice that is being sent
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def put(self, title: str, body: str) -> None:
        """Send it later; drop it when too many wait."""
        try:
            self._waiting.put_nowait((title, body))
        except queue.Full:
            _log.error("notice.dropped", title=title)

    def end(self) -> None:
        """Give those that wait some seconds; log those that are not sent by then."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_LAST_SECONDS)
            self._thread.join(_LAST_SECONDS)
        if self._thread.is_alive():
            _log.error("notice.dropped", title=self._sending)
        with suppress(queue.Empty):
            while True:
                if notice := self._waiting.get_nowait():
                    _log.error("notice.dropped", title=notice[0])

    def _run(self) -> None:
        while notice := self._waiting.get():
            self._sending = notice[0]
            try:
                notify(self._dsn, *notice)
            except BaseException:  # of a service's own code; the thread must live for the next notice
                _log.critical("notice.failed", title=notice[0], exc_info=True)


def _next(source: TextIO, answers: TextIO) -> dict[str, str] | None:
    """The next event, its header and its own values in one; None: supervisord has ended."""
    answers.write("READY\n")
    answers.flush()
    header = _values(source.readline())
    if "len" not in header:
        return None
    return header | _values(source.read(int(header["len"])))


def _values(text: str) -> dict[str, str]:
    return dict(part.split(":", 1) for part in text.split() if ":" in part)


def _title(event: dict[str, str]) -> str | None:
    """What happened, in a line; None: nothing to tell."""
    name = event.get("processname", "")
    if event.get("eventname") == "PROCESS_STATE_FATAL":
        return f"{name} was given up: it ends each time it is started"
    if event.get("eventname") == "PROCESS_STATE_EXITED" and event.get("expected") == "0":
        return f"{name} ended unexpectedly and is started again"
    return None


def _of(event: dict[str, str]) -> dict[str, str]:
    names = {"processname": "program", "pid": "process", "from_state": "state_before"}
    return {ours: event[theirs] for theirs, ours in names.items() if theirs in event}


def _body(event: dict[str, str]) -> str:
    where = os.environ.get("SUPERVISOR_DIR", "the directory of supervisord")
    pid = f" (process {event['pid']})" if "pid" in event else ""
    return f"On {socket.gethostname()}{pid}. Its log: {where}/{event.get('processname', '')}.log"


def _end(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)

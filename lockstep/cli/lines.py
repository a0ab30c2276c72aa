"""Sends JSON lines in batches; a wrong line is named with its number and its field."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lockstep.cli.common import err
from lockstep.errors import InvalidMessage, RedisUnavailable
from lockstep.requests import parse_request
from lockstep.strictjson import parse_json

if TYPE_CHECKING:
    from dramatiq import Message

    from lockstep.broker import LockstepBroker

#: Messages of one call to Redis.
BATCH: Final = 500


class LineSender:
    """Sends lines in their order; ``accepted`` and ``duplicates`` say how far it got."""

    def __init__(self, broker: "LockstepBroker", defaults: dict[str, Any]) -> None:
        self.accepted = 0
        self.duplicates = 0
        self._sent_to = 0  #: number of the last line that was sent
        self._broker = broker
        self._defaults = defaults
        self._numbers: list[int] = []  # of the lines that wait to be sent
        self._messages: list[Message[Any]] = []
        self._delays: list[int | None] = []
        self._in_flight = False  #: a batch is being sent
        self._interrupted = False  #: while it was

    @property
    def progress(self) -> str:
        """How far it got, and how to continue."""
        sent = self.accepted + self.duplicates
        begun = f"{sent} lines were sent"
        if self._in_flight:
            begin, end = self._numbers[0], self._numbers[-1]
            return (
                f"{begun}; lines {begin} to {end} were being sent, and may be in Redis. Continue with "
                f"--from-line {begin}: lines with an id are not sent twice, while it is known"
            )
        return f"{begun}. Continue with --from-line {self._sent_to + 1}"

    def send_all(self, lines: Iterable[bytes], size: int | None, first: int = 1) -> None:
        """Send every line that is not empty.

        Ctrl-C takes effect between two batches, so that it is known which lines were sent; a second one at once.

        Args:
          lines: a JSON request each.
          size: bytes of all lines, for the progress bar; None: not known.
          first: number of the line to begin with.

        Raises:
          InvalidMessage: a line is wrong; ``field`` begins with its number. Batches before it are in Redis.
          RedisUnavailable: it says how far it got, and how to continue.
          KeyboardInterrupt: ``progress`` says the same.
        """
        self._sent_to = first - 1
        with self._interruptible():
            self._send_all(lines, size, first)

    def _send_all(self, lines: Iterable[bytes], size: int | None, first: int) -> None:
        columns = (
            TextColumn("sending"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("bytes"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
            task = progress.add_task("send", total=size)
            for number, line in enumerate(lines, start=1):
                if number >= first and line.strip():
                    self._add(number, line)
                progress.advance(task, len(line))
                if len(self._messages) >= BATCH:
                    self._flush()
            self._flush()

    def _add(self, number: int, line: bytes) -> None:
        try:
            request = parse_json(line)
            if isinstance(request, dict):
                request = {**self._defaults, **request}
            message, delay = parse_request(self._broker, request)
        except InvalidMessage as error:
            raise self._refused(number, error.field, error.problem) from None
        except ValueError as error:
            raise self._refused(number, "", f"not JSON: {error}") from None
        self._numbers.append(number)
        self._messages.append(message)
        self._delays.append(delay)

    def _flush(self) -> None:
        if not self._messages:
            return
        # The process dies here: the batches before are in Redis, this one is in it or not.
        self._in_flight = True
        try:
            answers = self._broker.enqueue_many(self._messages, self._delays)
        except RedisUnavailable as error:
            raise RedisUnavailable(f"{error}; {self.progress}") from None
        except InvalidMessage as error:
            index, _, field = error.field.removeprefix("/").partition("/")
            raise self._refused(self._numbers[int(index)], f"/{field}", error.problem) from None
        known = sum(answer.duplicate for answer in answers)
        self.duplicates += known
        self.accepted += len(answers) - known
        self._sent_to, self._in_flight = self._numbers[-1], False
        self._numbers, self._messages, self._delays = [], [], []
        if self._interrupted:
            raise KeyboardInterrupt

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C raises at once while lines are read, and after the batch while one is sent."""

        def interrupt(signum: int, frame: FrameType | None) -> None:
            if self._interrupted or not self._in_flight:
                raise KeyboardInterrupt
            self._interrupted = True

        if threading.current_thread() is not threading.main_thread():  # signals are for the main thread
            yield
            return
        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _refused(self, number: int, field: str, problem: str) -> InvalidMessage:
        sent = self.accepted + self.duplicates
        return InvalidMessage(
            f"line {number}{field and ' '}{field}", f"{problem} ({sent} before it were sent)"
        )

"""Sends JSON lines in batches; a wrong line is named with its number and its field."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lockstep.cli.common import err
from lockstep.errors import InvalidMessage
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
        self._broker = broker
        self._defaults = defaults
        self._numbers: list[int] = []  # of the lines that wait to be sent
        self._messages: list[Message[Any]] = []
        self._delays: list[int | None] = []

    def send_all(self, lines: Iterable[bytes], size: int | None) -> None:
        """Send every line that is not empty.

        Args:
          lines: a JSON request each.
          size: bytes of all lines, for the progress bar; None: not known.

        Raises:
          InvalidMessage: a line is wrong; ``field`` begins with its number. Batches before it are in Redis.
          RedisUnavailable: sending the file again is safe when its lines have ids, while their records are kept.
        """
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
                if line.strip():
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
        try:
            answers = self._broker.enqueue_many(self._messages, self._delays)
        except InvalidMessage as error:
            index, _, field = error.field.removeprefix("/").partition("/")
            raise self._refused(self._numbers[int(index)], f"/{field}", error.problem) from None
        known = sum(answer.duplicate for answer in answers)
        self.duplicates += known
        self.accepted += len(answers) - known
        self._numbers, self._messages, self._delays = [], [], []

    def _refused(self, number: int, field: str, problem: str) -> InvalidMessage:
        sent = self.accepted + self.duplicates
        return InvalidMessage(
            f"line {number}{field and ' '}{field}", f"{problem} ({sent} before it were sent)"
        )

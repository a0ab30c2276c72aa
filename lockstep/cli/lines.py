"""Messages from a file, a JSON object a line, written batch by batch in the order of the lines."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lockstep.errors import InvalidMessage, LockstepError, RedisUnavailable
from lockstep.requests import parse_request

if TYPE_CHECKING:
    import dramatiq

    from lockstep.broker import LockstepBroker

#: Messages of one call; a bad line keeps its whole batch from being written.
BATCH: Final = 500


@dataclass
class Sent:
    """How far a file came."""

    lines: int = 0  #: up to here everything is written
    messages: int = 0
    duplicates: int = 0  #: messages among them whose id was known: nothing was written for those


class BadLine(InvalidMessage):
    """A line of the file was refused; ``line`` counts from 1."""

    def __init__(self, line: int, first: int, error: InvalidMessage) -> None:
        super().__init__(error.field, error.problem)
        self.line = line
        written = f"lines 1 to {first - 1} were" if first > 1 else "nothing was"
        self.args = (f"line {line}: {error}\n{written} written; nothing from line {first} on was",)


def send_lines(
    broker: "LockstepBroker",
    lines: Iterable[bytes],
    defaults: Mapping[str, object],
    progress: Callable[[Sent, int], None],
) -> Sent:
    """Write every line's message; ``progress`` hears of each batch and of the bytes it had.

    Args:
      broker: where to.
      lines: JSON objects with the fields of a request; empty lines count, but say nothing.
      defaults: fields of lines that lack them.
      progress: called after each batch.

    Raises:
      BadLine: a line is wrong; its batch was not written, all before were.
      RedisUnavailable: a batch was not answered; the text says which lines it had.
    """
    sent = Sent()
    batch: list[tuple[dramatiq.Message[Any], int | None]] = []
    number = size = 0
    for number, line in enumerate(lines, start=1):
        size += len(line)
        if line.strip():
            batch.append(_parsed(broker, line, defaults, number, sent.lines + 1))
        if len(batch) == BATCH:
            _write(broker, batch, sent, number)
            progress(sent, size)
            batch, size = [], 0
    _write(broker, batch, sent, number)
    progress(sent, size)
    return sent


def _parsed(
    broker: "LockstepBroker", line: bytes, defaults: Mapping[str, object], number: int, first: int
) -> "tuple[dramatiq.Message[Any], int | None]":
    try:
        data = json.loads(line)
    except ValueError as error:  # of JSON or of UTF-8
        raise BadLine(number, first, InvalidMessage("", f"no JSON: {error}")) from None
    try:
        return parse_request(broker, {**defaults, **data} if isinstance(data, dict) else data)
    except InvalidMessage as error:
        raise BadLine(number, first, error) from None


def _write(
    broker: "LockstepBroker", batch: "list[tuple[dramatiq.Message[Any], int | None]]", sent: Sent, last: int
) -> None:
    first = sent.lines + 1
    if batch:
        try:
            answers = broker.enqueue_many([message for message, _ in batch], [delay for _, delay in batch])
        except RedisUnavailable as error:
            written = f"lines 1 to {first - 1} were written" if first > 1 else "nothing was written before"
            raise RedisUnavailable(
                f"{error}\n{written}; lines {first} to {last} may be: send them again with ids"
            ) from error
        sent.messages += len(answers)
        sent.duplicates += sum(answer.duplicate for answer in answers)
    sent.lines = last

"""What a history is made of: one event a line, written by producers, actors and whoever injects faults.

======== ========================================================================================
event    means
======== ========================================================================================
sent     a producer is about to send ``message`` (it may or may not be stored)
accepted the send returned: ``message`` is stored with ``sequence``
start    a run of ``message`` began in ``pid`` under ``fence``
effect   a run wrote to the fenced resource; ``outcome`` says whether the write counted
end      a run ended by itself with ``outcome``; a run that was cut off has none
boot     the worker process ``pid``, child of the first of ``pids``, is ready
fault    a fault of kind ``fault`` called ``name`` lasted from ``at`` to ``until`` for ``pids``
bit      there is evidence that the fault called ``name`` did something
gone     the process ``pid`` was seen to be gone
final    what the store says about ``message`` at the end: ``outcome`` is its state
drained  nothing waits, runs or backs off any more; ``completed`` counts what the store completed
======== ========================================================================================
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What happened."""

    SENT = "sent"
    ACCEPTED = "accepted"
    START = "start"
    EFFECT = "effect"
    END = "end"
    BOOT = "boot"
    FAULT = "fault"
    BIT = "bit"
    GONE = "gone"
    FINAL = "final"
    DRAINED = "drained"


class Ending(StrEnum):
    """How a run ended, as its actor saw it; the last two are concluded by the checker."""

    DONE = "done"
    FAILED = "failed"  #: raised an exception that is to be retried
    PERMANENT = "permanent"  #: raised an exception that must not be retried
    INTERRUPTED = "interrupted"  #: an interrupt (shutdown, lost lease) left the actor
    CRASHED = "crashed"  #: the actor ended its own interpreter
    CUT = "cut"  #: its process died under it
    OPEN = "open"  #: it had not ended when the history did


class Write(StrEnum):
    """What the fenced resource answered."""

    APPLIED = "applied"
    REPEATED = "repeated"  #: this message's write was there already
    REFUSED = "refused"  #: a higher fence had written before


class FaultKind(StrEnum):
    """What a fault may excuse; see ``checks``."""

    KILL = "kill"  #: the processes died at once
    PAUSE = "pause"  #: the processes stood still: they could not even notice
    CUT = "cut"  #: the processes could not reach Redis, and could know it
    STOP = "stop"  #: the processes were asked to stop
    OUTAGE = "outage"  #: Redis could not be used by anybody
    TAIL = "tail"  #: Redis came back as it was at ``at``: what it was told until ``until`` is forgotten
    NOISE = "noise"  #: must stay invisible: it excuses nothing
    FAILURE = "failure"  #: actors that raise
    CRASH = "crash"  #: actors that end their interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a history; a field that means nothing to its kind keeps its default."""

    event: Kind
    at: int  #: time.monotonic_ns(), which all processes of a machine share
    pid: int
    message: str = ""
    group: str | None = None
    sequence: int | None = None
    producer: str = ""
    duplicate: bool = False  #: of accepted: the store knew the message already
    delay_ms: int = 0  #: of sent: it must not start earlier than this after ``at``
    run: str = ""  #: joins the start, effects and end of one run
    fence: int | None = None
    attempt: int | None = None
    outcome: str = ""
    retry_ms: int = 0  #: of a failed end: its retry must not start earlier than this after ``at``
    fault: str = ""
    name: str = ""
    pids: tuple[int, ...] = ()
    until: int = 0
    attempts: int | None = None  #: of final: how many attempts the store remembers
    error: str = ""  #: of final: the last error that the store remembers
    completed: int | None = None  #: of drained

    @classmethod
    def decode(cls, line: str) -> "Event":
        """Read a line; an unknown field or kind is an error."""
        fields = json.loads(line)
        fields["pids"] = tuple(fields.get("pids", ()))
        return cls(**{**fields, "event": Kind(fields["event"])})

    def encode(self) -> str:
        """The line, without the fields that say nothing."""
        fields = {
            name: value for name, value in asdict(self).items() if value not in ("", None, 0, (), False)
        }
        return json.dumps({**fields, "at": self.at, "pid": self.pid}) + "\n"


def read(path: Path, offset: int = 0) -> Iterator[Event]:
    """The events of a file from a byte offset on; a line that is still being written is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        yield from decode_lines(file)


def decode_lines(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events of complete lines."""
    return (Event.decode(line.decode()) for line in lines if line.endswith(b"\n"))

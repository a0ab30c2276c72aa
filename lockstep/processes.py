"""What every process says of itself, as Redis remembers it: who it is, whether it is ready, and what it does.

A process reports when it starts, when its state changes, and every ``REPORT_SECONDS``; it withdraws when it stops in
order. One that is killed is forgotten ``FORGET_SECONDS`` after its last report. Releases that run side by side read
each other's records: fields that a release does not know are ignored, and those that it added have defaults.
"""

import json
from dataclasses import Field, asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from lockstep import clean, logs
from lockstep.calls import Calls

#: Seconds between two reports of a process whose state does not change.
REPORT_SECONDS: Final = 2.0

#: Seconds after its last report until a process is forgotten.
FORGET_SECONDS: Final = 10.0

#: Processes that are listed, at most.
MOST: Final = 10_000

#: Queues of one process that are listed.
_MOST_QUEUES: Final = 1000

log = logs.get_logger("lockstep.processes")


class ProcessType(StrEnum):
    """What a process is for."""

    WEB = "web"
    WORKER = "worker"
    SCHEDULER = "scheduler"


class ProcessState(StrEnum):
    """Whether a process does its work."""

    STARTING = "starting"  #: not yet, or not while it waits for Redis
    READY = "ready"  #: yes: it serves, may claim, or beats
    DRAINING = "draining"  #: it was told to stop, and ends what it has


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process."""

    name: str  #: unique: ``broker.owner``
    type: ProcessType
    role: str = ""  #: WORKER_ROLE of a worker, else empty
    instance: str  #: INSTANCE_ID
    host: str  #: ``socket.gethostname()``
    pid: int
    master_pid: int  #: what the platform started: the Dramatiq master of a worker, else the process itself
    boot: str  #: random, of this life of the process
    version: str  #: see ``lockstep.release``
    started_ms: int  #: by the clock of its machine
    state: ProcessState
    busy: int = 0  #: messages or requests in work
    capacity: int = 0  #: threads
    memory_bytes: int = 0  #: resident
    queues: tuple[str, ...] = ()  #: that a worker takes
    done: int = 0  #: attempts that ended, requests answered, ticks fired, since it started
    siblings: int = 1  #: processes of its master
    seen_ms: int = 0  #: milliseconds since its last report; filled by ``Processes.listing``

    def encode(self) -> bytes:
        """As it is stored."""
        values = asdict(self)
        del values["name"], values["seen_ms"]
        return json.dumps(values, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, name: str, seen_ms: int, stored: bytes) -> "ProcessRecord":
        """The record that another release may have stored.

        Raises:
          ValueError: a field is missing that every release writes, or one has a value that this one does not know.
        """
        try:
            values = json.loads(stored)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(values, dict):
            raise ValueError("expected an object")
        known: dict[str, Any] = {
            one.name: _cleaned(one, values[one.name]) for one in fields(cls) if one.name in values
        }
        try:
            return cls(**{**known, "name": clean.text(name), "seen_ms": max(0, seen_ms)})
        except TypeError as error:  # a field is missing
            raise ValueError(str(error)) from None


def _cleaned(field: "Field[Any]", value: object) -> Any:
    """The value of a field as this process may use it.

    Raises:
      ValueError: it is of another type, or of a kind that this release does not know.
    """
    if field.name == "queues":
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError("queues: expected a list of names")
        return tuple(clean.text(one) for one in value[:_MOST_QUEUES])
    if field.type is int:
        take = clean.time_ms if field.name == "started_ms" else clean.number
        return take(value, field.name)
    if not isinstance(value, str):
        raise ValueError(f"{field.name}: expected text, got {type(value).__name__}")
    if field.type in (ProcessType, ProcessState):
        return field.type(value)
    return clean.text(value)


class Processes:
    """The part of the store that knows processes. Raises and threads: see ``Calls``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._unreadable: set[bytes] = set()  # processes that were logged, until all are readable again

    def report(self, record: ProcessRecord) -> None:
        """Note what a process says of itself. If the answer is lost, saying it again changes nothing."""
        self._run("report", record.name, record.encode(), _FORGET_MS)

    def withdraw(self, name: str) -> bool:
        """Forget a process that stopped in order; answers whether it was known."""
        return bool(self._run("withdraw", name))

    def listing(self) -> list[ProcessRecord]:
        """Every process heard of within ``FORGET_SECONDS``, by type, host and name; at most ``MOST``."""
        flat = self._run("processes", _FORGET_MS, MOST)
        found = []
        unreadable = set()
        for name, seen_ms, stored in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            try:
                found.append(ProcessRecord.decode(clean.text(name), seen_ms, stored))
            except ValueError as error:
                # Another release's: it is there, but nothing can be said about it.
                unreadable.add(name)
                if name not in self._unreadable:
                    log.warning("process.unreadable", process=clean.text(name), error=clean.text(str(error)))
        self._unreadable = unreadable
        return sorted(found, key=lambda record: (record.type, record.host, record.name))

    def _run(self, script: str, *arguments: Any) -> Any:
        keys = (self._calls.global_key("processes"), self._calls.global_key("processes:seen"))
        return self._calls.run_on(script, keys, arguments)


_FORGET_MS: Final = int(FORGET_SECONDS * 1000)

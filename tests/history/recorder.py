"""Writes a history: any number of processes and threads may append to one file."""

import os
import time
from pathlib import Path
from typing import Any, Self

from tests.history.events import Event, Kind


class Recorder:
    """Appends events to a file, each with a single write, so that lines never mix.

    What ``record`` returned from survives the death of the process (the kernel has it).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def record(self, kind: Kind, *, at: int | None = None, **fields: Any) -> Event:
        """Append one event that happened now, or ``at``."""
        moment = time.monotonic_ns() if at is None else at
        event = Event(event=kind, at=moment, pid=fields.pop("pid", None) or os.getpid(), **fields)
        line = event.encode().encode()
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"wrote {written} of {len(line)} bytes of an event to {self.path}")
        return event

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""The work of a fault run: each step records itself and writes to a fenced resource, then ends as it was told."""

import ctypes
import os
import resource
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any, Final

import dramatiq
from dramatiq.middleware import CurrentMessage, Middleware
from dramatiq.threading import Interrupt

from lockstep import limits
from lockstep.errors import Cancelled
from tests.history.events import Ending, Kind, Write
from tests.history.recorder import Recorder

#: Environment name of the directory that a run keeps its history and its fenced resource in.
DIRECTORY: Final = "FAULT_DIRECTORY"
#: Milliseconds that a retry waits. Redis counts in whole ones, so it may start one earlier.
RETRY_MS: Final = 100
#: What each key of the limit ``domain`` may start.
DOMAIN_RATE: Final = "5/500ms"
#: Seconds of work between two chances to be interrupted.
_SLICE: Final = 0.01

_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS fences (grp TEXT PRIMARY KEY, fence INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS writes (message TEXT PRIMARY KEY);
"""


class Failed(Exception):
    """A step failed because it was told to."""


def history_of(directory: Path) -> Path:
    """The file with the history of a run."""
    return directory / "history"


def repair(directory: Path) -> None:
    """Let the steps of a run go well that were broken."""
    (directory / "repaired").touch()


def make_resource(directory: Path) -> None:
    """Make the fenced resource of a run."""
    with sqlite3.connect(directory / "resource", isolation_level=None) as database:
        database.executescript(_SCHEMA)
    database.close()


def declare(broker: Any, name: str = "step", **options: Any) -> Any:
    """Declare an actor of fault runs, with more options, on a broker."""
    return dramatiq.actor(broker=broker, actor_name=name, **options)(step)


def step(
    group: str,
    seconds: float = 0.0,
    failures: int = 0,
    crash: bool = False,
    computes: bool = False,
    charges: str = "",
    holds: float = 0.0,
    broken: bool = False,
    heeds: bool = False,
    until: str = "",
) -> None:
    """Work for ``seconds`` and write; fail in the first ``failures`` attempts, or end the interpreter.

    Before that, charge the limit ``domain`` for the key ``charges``, and hold it for ``holds`` seconds.
    One that is ``broken`` fails until the run is repaired; one that ``heeds`` ends when it is asked to. With
    ``until`` it then works until the run has a file of that name.
    """
    if charges:
        limits.charge("domain", charges, rate=DOMAIN_RATE)
    if holds:
        limits.hold("step", holds)
    directory = Path(os.environ[DIRECTORY])
    message: Any = CurrentMessage.get_current_message()
    attempt = message.options.get("retries", 0) + 1
    facts = {
        "message": message.message_id,
        "group": getattr(message, "group", group),
        "sequence": getattr(message, "sequence", None),
        "fence": getattr(message, "fence", None),
        "run": uuid.uuid4().hex,
        "attempt": attempt,
    }
    with Recorder(history_of(directory)) as recorder:
        recorder.record(Kind.START, **facts)
        try:
            _compute(seconds) if computes else _work(seconds, message if heeds else None)
            while until and not (directory / until).exists():
                _work(_SLICE)
            if crash:
                recorder.record(Kind.END, outcome=Ending.CRASHED, **facts)
                _crash()
            if attempt <= failures or (broken and not (directory / "repaired").exists()):
                raise Failed(f"attempt {attempt} of {failures + 1}")
            _write(directory, recorder, facts)
        except Failed:
            recorder.record(Kind.END, outcome=Ending.FAILED, retry_ms=RETRY_MS - 1, **facts)
            raise
        except Interrupt:
            recorder.record(Kind.END, outcome=Ending.INTERRUPTED, **facts)
            raise
        recorder.record(Kind.END, outcome=Ending.DONE, **facts)


def _work(seconds: float, asked: Any = None) -> None:
    # Slices, not a deadline: a process that stood still has the rest of its work before it.
    for _ in range(round(seconds / _SLICE)):
        time.sleep(_SLICE)  # an interrupt arrives between two of these
        if asked is not None and asked.cancel_requested:
            raise Cancelled


def _compute(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sum(range(1000))  # holds the interpreter as long as it may


def _crash() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def _write(directory: Path, recorder: Recorder, facts: dict[str, Any]) -> None:
    """Write unless a higher fence has written; a write of the same message counts once."""
    group, fence, message = facts["group"], facts["fence"] or 0, facts["message"]
    database = sqlite3.connect(directory / "resource", timeout=10, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN IMMEDIATE")
        highest = database.execute("SELECT max(fence) FROM fences WHERE grp = ?", (group,)).fetchone()[0]
        if highest is not None and highest > fence:
            outcome = Write.REFUSED
        elif database.execute("INSERT OR IGNORE INTO writes VALUES (?)", (message,)).rowcount:
            outcome = Write.APPLIED
        else:
            outcome = Write.REPEATED
        if outcome is not Write.REFUSED:
            database.execute("INSERT OR REPLACE INTO fences VALUES (?, ?)", (group, fence))
        at = time.monotonic_ns()  # while others wait: the record has the order of the writes
        database.execute("COMMIT")
    finally:
        database.close()
    # If the process dies here, the write is not recorded; the next run of the message finds it.
    recorder.record(Kind.EFFECT, at=at, outcome=outcome, **facts)


class Boots(Middleware):
    """Records that a worker process is ready."""

    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        with Recorder(history_of(Path(os.environ[DIRECTORY]))) as recorder:
            recorder.record(Kind.BOOT, pids=(os.getppid(),))

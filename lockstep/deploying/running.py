"""Commands of releases as processes of their own: each release runs its own code."""

import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Lines of a command that are told again when it failed.
_TAIL: Final = 30

#: Of the environment of this process, what belongs to its own release.
_OWN: Final = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "RELEASE"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    tail: str  #: its last lines


def environment_of(scripts: Path) -> dict[str, str]:
    """The environment for commands of a release, whose scripts come first on the PATH."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
    return {**inherited, "PATH": os.pathsep.join((str(scripts), inherited.get("PATH", os.defpath)))}


def run(
    command: Sequence[str | Path],
    *,
    directory: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    timeout: float | None = None,
) -> Ended:
    """Run a command to its end, and tell each of its lines as it comes.

    After ``timeout`` seconds it is killed, which counts as a failure. If this process dies, the command goes on to its
    own end: each of them is safe to be started again.
    """
    tail: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(  # noqa: S603
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        overdue = threading.Event()

        def kill() -> None:
            overdue.set()
            process.kill()

        timer = threading.Timer(timeout, kill) if timeout else None
        if timer:
            timer.start()
        try:
            for line in process.stdout:
                tail.append(line.rstrip())
                tell(line.rstrip())
            process.wait()
        finally:
            if timer:
                timer.cancel()
    if overdue.is_set():
        tail.append(f"killed after {timeout:.0f} seconds")
    return Ended(process.returncode, "\n".join(tail))

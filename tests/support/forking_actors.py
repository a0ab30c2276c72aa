"""An actor that starts children in every way and stops them again; ``ACTOR_MODULES`` names this module."""

import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import dramatiq

from tests.support.waiting import PATIENCE

SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "HUP": signal.SIGHUP}
METHODS = ("fork", "spawn", "forkserver")


class _Escaped(BaseException):
    """Is caught nowhere in the actor."""


@dramatiq.actor(actor_name="told")
def told(by: str) -> None:
    """Is sent by children."""


@dramatiq.actor(actor_name="forks", max_attempts=1)
def forks(file: str, drains: bool) -> None:
    """Write what became of each child, while the worker runs or while it drains."""
    broker: Any = dramatiq.get_broker()
    pathlib.Path(f"{file}.started").touch()
    while drains and not broker.stopping:
        time.sleep(0.05)
    results: dict[str, Any] = {}
    for name, scenario in _scenarios().items():
        try:
            results[name] = scenario()
        except Exception as error:
            results[name] = repr(error)
    draft = pathlib.Path(f"{file}.draft")
    draft.write_text(json.dumps(results))
    draft.rename(file)


def _scenarios() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {"masks": _masks, "exit": _exit, "raise": _raise, "send": _send}
    for word, signum in SIGNALS.items():
        found[f"popen {word}"] = lambda signum=signum: _popen(signum)
        found[f"preexec {word}"] = lambda signum=signum: _popen(signum, preexec_fn=os.getpid)
        found[f"os.fork {word}"] = lambda signum=signum: _fork(signum)
    found["at once"] = lambda: [_fork(signal.SIGTERM, wait=False) for _ in range(30)]
    for method in METHODS:
        found[f"process {method}"] = lambda method=method: _process(method)
        found[f"pool {method}"] = lambda method=method: _pool(method)
        found[f"executor {method}"] = lambda method=method: _executor(method)
    return found


def _masks() -> list[int]:
    """Which of the signals a program that is executed ignores or blocks."""
    bits = sum(1 << (signum - 1) for signum in SIGNALS.values())
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return [int(fields[name], 16) & bits for name in ("SigIgn", "SigBlk")]


def _popen(signum: int, **options: Any) -> int:
    child = subprocess.Popen(["sleep", "60"], **options)
    child.send_signal(signum)
    try:
        return -child.wait(50)
    finally:
        child.kill()
        child.wait()


def _fork(signum: int, *, wait: bool = True) -> int:
    ready, note = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(note, b"x")
            time.sleep(60)
        except KeyboardInterrupt:  # as Python does it in any program
            os._exit(2)
        os._exit(99)
    if wait:
        os.read(ready, 1)
    os.close(ready)
    os.close(note)
    os.kill(pid, signum)
    return _ended(pid)


def _ended(pid: int) -> int:
    """The signal or the exit code that ended a child; -1: it had to be killed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


def _exit() -> int:
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    return _ended(pid)


def _raise() -> int:
    pid = os.fork()
    if pid == 0:
        raise _Escaped("in the child")
    return _ended(pid)


def _send() -> int:
    """Send in a child, longer after the fork than a lease."""
    child = multiprocessing.get_context("fork").Process(target=_send_late)
    child.start()
    child.join(PATIENCE)
    return -1 if child.exitcode is None else child.exitcode


def _send_late() -> None:
    time.sleep(float(os.environ["LEASE_SECONDS"]) + 0.5)
    told.send("a child")


def _process(method: str) -> Any:
    child = multiprocessing.get_context(method).Process(target=time.sleep, args=(60,))  # type: ignore[attr-defined]
    child.start()
    child.terminate()
    child.join(PATIENCE)
    try:
        return child.exitcode
    finally:
        child.kill()


def _pool(method: str) -> str:
    with multiprocessing.get_context(method).Pool(2) as pool:
        try:
            pool.apply_async(time.sleep, (60,)).get(timeout=0.2)
        except multiprocessing.TimeoutError:
            return "timed out"
    return "returned"


def _executor(method: str) -> list[Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        assert executor.submit(abs, -1).result(60) == 1
        children = list(executor._processes.values())
        for child in children:
            child.terminate()
            child.join(PATIENCE)
        return [child.exitcode for child in children]

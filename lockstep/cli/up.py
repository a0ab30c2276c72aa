"""``lockstep up``: everything on this machine, until Ctrl-C.

Redis first, then supervisord with the web process, the workers and the scheduler; they stop in the reverse order.
All of them die with this process, however it ends.
"""

import fcntl
import os
import signal
import socket
import stat
import sys
import time
from contextlib import ExitStack, closing, suppress
from types import FrameType
from typing import Annotated, Final

import httpx
import typer

from lockstep.cli.common import NOT_READY, complain, out
from lockstep.cli.demo import Demo
from lockstep.cli.supervision import Supervisord, SupervisordFailed
from lockstep.embedded import EmbeddedRedis, EmbeddedRedisFailed
from lockstep.errors import ImportFailed, LockstepError
from lockstep.modules import check_actor_modules, check_imports
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.settings import Settings
from lockstep.sources import Sources
from lockstep.store import Store
from lockstep.supervision.control import Control
from lockstep.supervision.place import Place

#: Seconds until web, workers and scheduler must be ready.
READY_SECONDS: Final = 120.0

#: Where this command differs from the settings: one machine, and somebody who waits for it to start.
_DEFAULTS: Final = {
    "WORKER_PROCESSES": "2",
    "WORKER_CONCURRENCY": "8",
    "SEARCH_INDEX": "true",
    "LOADTEST_ACTOR": "true",
    # All web processes share a socket that only they hold: with one alone, a reload would refuse connections.
    "WEB_PROCESSES": "2",
    "WORKER_MASTERS": "1",
    "SCHEDULER_PROCESSES": "1",
}

_LOOK_SECONDS: Final = 0.1


class _NotReady(Exception):
    """Something did not start."""


class _Stop:
    """Whether a signal asked this process to stop. A second signal means nothing new."""

    def __init__(self) -> None:
        self.asked = False
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._ask)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True


def up(
    port: Annotated[int | None, typer.Option(help="Port of the web process [PORT, else 7777].")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes [WORKER_PROCESSES, else 2].")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each [WORKER_CONCURRENCY, else 8].")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Send sample messages, some of them failing.")] = False,
) -> None:
    """Run everything on this machine: Redis, web, workers and scheduler. Ctrl-C drains and stops all.

    Without REDIS_URL, a Redis of its own runs and keeps its data in DATA_DIR.
    """
    environment = _environment(port, workers, threads)
    stop = _Stop()
    _append_to_output()
    try:
        code = _run(environment, stop, demo=demo)
    except (_NotReady, EmbeddedRedisFailed, ImportFailed) as error:
        complain(str(error))
        # What the terminal sends goes to each process, also to one that was only trying the imports.
        code = 0 if stop.asked else NOT_READY
    raise typer.Exit(code)


def _run(environment: dict[str, str], stop: _Stop, *, demo: bool) -> int:
    settings = Settings.load(environment)
    _check(settings)
    out.print("Starting.")  # the first line of a program comes seconds later
    redis, embedded = "as configured", None
    with ExitStack() as running:
        if settings.redis_address is None:
            embedded = running.enter_context(EmbeddedRedis())
            environment["REDIS_URL"] = embedded.start(settings.data_dir)
            # Only a power cut takes from it what it answered, and every worker with it: nothing runs that it forgot.
            if not Sources.read(environment, ".env").sets("REDIS_SYNCED_WRITES"):
                environment["REDIS_SYNCED_WRITES"] = "true"
            redis = f"{environment['REDIS_URL']}, its data in {settings.data_dir}/"
            settings = Settings.load(environment)
            with closing(Store.connect(settings)) as store:
                store.schema.migrate()  # nobody runs `lockstep setup` here
        check_imports(environment, READY_SECONDS)
        if stop.asked:
            return 0
        # The process dies here or later: the kernel tells Redis and supervisord, which stops the rest.
        supervisord = Supervisord(settings, environment)
        running.callback(supervisord.end)
        _wait_until_ready(settings, supervisord, stop)
        if stop.asked:
            return 0
        _tell(settings, redis)
        if demo:
            os.environ.update(environment)
            running.enter_context(Demo())
        code = _watch(settings, supervisord, embedded, stop)
        out.print("Stopping: workers finish what they run.")
    out.print("Stopped.")
    return code


def _watch(settings: Settings, supervisord: Supervisord, embedded: EmbeddedRedis | None, stop: _Stop) -> int:
    """Return the exit code when there is a reason to stop; it has been told."""
    while not stop.asked:
        try:
            supervisord.check()
        except SupervisordFailed as error:
            complain(str(error))
            return 1
        if embedded is not None and not embedded.alive:
            complain(f"Redis ended; what it answered is in {settings.data_dir}/:\n{embedded.log_tail()}")
            return 1
        time.sleep(_LOOK_SECONDS)
    return 0


def _environment(port: int | None, workers: int | None, threads: int | None) -> dict[str, str]:
    """The environment of all processes: options, else what is set already, else the defaults of this command.

    What `.env` says is left there: a process that starts anew reads it again.
    """
    options = {"PORT": port, "WORKER_PROCESSES": workers, "WORKER_CONCURRENCY": threads}
    sources = Sources.read(os.environ, ".env")
    defaults = {name: value for name, value in _DEFAULTS.items() if not sources.sets(name)}
    return {**os.environ, **defaults} | {
        name: str(value) for name, value in options.items() if value is not None
    }


def _check(settings: Settings) -> None:
    """Say at once what no process could start with; also a taken port, whose answers would look like ours."""
    from web.auth import check_exposure  # noqa: PLC0415
    from web.server import listen  # noqa: PLC0415

    check_actor_modules(settings)
    check_exposure(settings)
    if settings.port == 0:
        raise _NotReady("PORT: name a port, 0 cannot be told to anybody")
    for name in ("web_processes", "worker_masters", "scheduler_processes"):
        if not getattr(settings, name):
            raise _NotReady(f"{name.upper()}: everything runs here, so at least one")
    place = Place.of(settings)
    place.environment(settings, {})  # what supervisord cannot use is refused before Redis starts
    if Control(place).alive():
        raise _NotReady(f"everything runs already: a supervisord answers at {place.socket}")
    try:
        listen(settings.bind_host, settings.port).close()
    except OSError as error:
        raise _NotReady(
            f"{settings.bind_host}:{settings.port}: {error.strerror}; choose another with --port"
        ) from None


def _wait_until_ready(settings: Settings, supervisord: Supervisord, stop: _Stop) -> None:
    deadline = time.monotonic() + READY_SECONDS
    missing = "web"
    with closing(Store.connect(settings)) as store:
        while missing and not stop.asked:
            try:
                supervisord.check()
            except SupervisordFailed as error:
                raise _NotReady(str(error)) from None
            if time.monotonic() > deadline:
                raise _NotReady(
                    f"{missing} did not start in {READY_SECONDS:.0f} seconds; its own lines are above"
                )
            time.sleep(_LOOK_SECONDS)
            missing = _missing(settings, store)


def _missing(settings: Settings, store: Store) -> str:
    """The program that is not ready yet; empty when all are."""
    try:
        if httpx.get(f"{settings.web_url}/readyz", timeout=2, trust_env=False).status_code != httpx.codes.OK:
            return "web"
    except httpx.HTTPError:
        return "web"
    with suppress(LockstepError):  # Redis is away for a moment
        if not any(map(_is_worker_here, store.processes.listing())):
            return "worker"
        return "" if store.schedules.listing().schedulers else "scheduler"
    return "worker"


def _is_worker_here(one: ProcessRecord) -> bool:
    ready = one.type is ProcessType.WORKER and one.state is ProcessState.READY
    return ready and one.host == socket.gethostname()


def _tell(settings: Settings, redis: str) -> None:
    address, given = settings.web_url, settings.masked()
    masters = f"{settings.worker_masters} times " if settings.worker_masters > 1 else ""
    key = " -H 'Authorization: Bearer SECRET'" if settings.api_keys else ""
    lines = (
        f"web        {address}   (probes /livez /readyz, /metrics, /api/v1)",
        f"workers    {masters}{given['WORKER_PROCESSES']} processes of {given['WORKER_CONCURRENCY']} threads",
        "scheduler  sends periodic actors (lockstep schedules lists them)",
        f"redis      {redis}",
        "Send a message:",
        f"  curl -s {address}/api/v1/messages -H 'Content-Type: application/json'{key} -d "
        """'{"actor":"messages.deliver","kwargs":"""
        """{"instance_id":"instance-123","customer_id":"customer-456","body":"hello"}}'""",
        "Ctrl-C stops everything.",
    )
    out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _append_to_output() -> None:
    """Several processes write to our output; in a file, each must write at its end."""
    with suppress(OSError, ValueError):  # closed, or no file at all
        descriptor = sys.stdout.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)

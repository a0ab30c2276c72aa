"""The deployment that the runbook is tried on: a home with two releases, all processes, a Redis and a spare one.

What the page calls `redis-1:6379`, `redis-2:6379` and `localhost:7777` has addresses of its own here.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import redis

from lockstep.deploying.home import Home, Release
from lockstep.embedded import EmbeddedRedis
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.ops.home import make_release
from tests.ops.supervised import Supervised, free_port
from tests.support.waiting import LONG_COMMAND, PATIENCE, wait_for

FORMER: Final = "2026-11-24"
NEWEST: Final = "2026-11-25"
KEY: Final = "0123456789abcdef0123456789abcdef"
TOKEN: Final = "fedcba9876543210fedcba9876543210"

SETTINGS: Final = {
    "APP_ENV": "production",
    "LOG_FORMAT": "json",
    "HOST": "127.0.0.1",
    "API_KEYS": f"operator:enqueue+read+operate+admin:{KEY}",
    "METRICS_TOKEN": TOKEN,
    "ACTOR_MODULES": "shop",
    "SCHEDULE_HEARTBEAT": "true",
    "WORKER_CONCURRENCY": "4",
    "LEASE_SECONDS": "3",
    "REAP_SECONDS": "0.5",
    "BACKOFF": "fixed:1h",
    "CANCEL_GRACE": "0.5",
    "WEB_DRAIN_SECONDS": "0",
    "READY_TIMEOUT": "300s",  # the machine may have much else to do
}

#: What is charged goes to a file; the file `provider` says how the payment provider is.
ACTOR: Final = """
import os
import shutil
import signal
import time
from pathlib import Path

import dramatiq

from lockstep.errors import Permanent

broken = False


def provider():
    return Path("provider").read_text()


@dramatiq.actor(actor_name="charge", queue_name="orders", group_by="{customer}")
def charge(customer, order):
    if broken:
        raise Permanent("unsupported currency: None")
    if provider() == "refuses":
        raise Permanent("401 Unauthorized")
    if provider() == "fails":
        raise ConnectionError("the provider is away")
    while provider() == "hangs":
        time.sleep(0.02)
    if provider() == "slow":
        time.sleep(0.2)
    with open("charges", "a") as charges:
        charges.write(f"{order}\\n")
    if provider() == "dies":
        Path("provider").write_text("works")
        os.kill(os.getpid(), signal.SIGKILL)
"""

#: `redis-cli` where there is none: it says one command to the server, and prints the answer.
CLIENT: Final = f"""#!{sys.executable}
import sys
import redis
answer = redis.Redis.from_url(sys.argv[2], decode_responses=True).execute_command(*sys.argv[3:])
print("OK" if answer is True else answer)
"""


class Shop(Supervised):
    """Queue `orders`, a group a customer, actor `charge`."""

    def __init__(self, directory: Path) -> None:
        """A place for it; ``open`` starts it."""
        self.directory, self.log = directory / "home", directory / "log"
        self.directory.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._places = [directory / "redis-1", directory / "redis-2"]
        self._ports = [free_port(), free_port()]
        self._redis = [EmbeddedRedis(), EmbeddedRedis()]
        self._primary = 0
        self._stores: list[Store] = []
        tools = directory / "bin"
        tools.mkdir()
        if shutil.which("redis-cli") is None:
            (tools / "redis-cli").write_text(CLIENT)
            (tools / "redis-cli").chmod(0o755)
        paths = (self.directory / "current" / ".venv" / "bin", tools, os.environ["PATH"])
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self.environment = {**kept, "PATH": os.pathsep.join(map(str, paths)), "COLUMNS": "150"}

    def open(self) -> None:
        """Start everything, and wait until it works."""
        self.restart_redis()
        address = f"redis://127.0.0.1:{self._ports[0]}/0"
        self.configure(PORT=str(self.port), REDIS_URL=address, **SETTINGS)
        (self.directory / "shop.py").write_text(ACTOR)
        self.provider("works")
        self._install(FORMER, broken=False)
        self._install(NEWEST, broken=True)
        assert self.type("lockstep setup")[0] == 0
        self.start()
        self.reconnect()
        self.wait_up(self.store)

    # -- what the world does ------------------------------------------------------------------------------------------

    def configure(self, **changes: str) -> None:
        """Write settings into `.env`; an empty one goes."""
        file = self.directory / ".env"
        lines = file.read_text().splitlines() if file.exists() else []
        known = dict(line.split("=", 1) for line in lines) | changes
        file.write_text("".join(f"{name}={value}\n" for name, value in known.items() if value))

    def provider(self, how: str) -> None:
        """How the payment provider is from now on: works, refuses, fails, hangs, is slow, or the worker dies."""
        draft = self.directory / "provider.new"
        draft.write_text(how)
        draft.replace(self.directory / "provider")

    def order(self, customer: str, ids: Iterable[str]) -> None:
        """Send orders of a customer, whose ids are those of the messages; again while Redis does not answer."""
        messages = [
            {"actor": "charge", "kwargs": {"customer": customer, "order": id_}, "id": id_} for id_ in ids
        ]

        def post() -> httpx.Response | None:
            answer = httpx.post(
                f"{self.url}/api/v1/messages/batch",
                json={"messages": messages},
                headers={"Authorization": f"Bearer {KEY}"},
                trust_env=False,
                timeout=PATIENCE,
            )
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        answer = wait_for("the orders are answered", post)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text

    def wait_for_state(self, message: str, state: str) -> None:
        wait_for(f"{message} is {state}", lambda: self.store.message(message).state == state)

    def charged(self, order: str) -> int:
        """How often an order was charged."""
        return (self.directory / "charges").read_text().splitlines().count(order)

    def ready_workers(self) -> list[ProcessRecord]:
        """The workers that are ready."""
        listing = self.store.processes.listing()
        return [one for one in listing if one.type is ProcessType.WORKER and one.state is ProcessState.READY]

    def restart_workers(self, *names: str) -> None:
        """What a reboot does, say: they end, and supervisord starts them with what is there now."""
        former = {
            one.name: one.pid
            for one in self.programs("worker")
            if one.pid and (not names or one.name in names)
        }
        ended = {
            one.master_pid: one.name for one in self.ready_workers() if one.master_pid in former.values()
        }
        for pid in former.values():
            os.kill(pid, signal.SIGTERM)
        wait_for(
            "they ended", lambda: not ended.keys() & {one.master_pid for one in self.ready_workers()}, 60
        )

    def reconnect(self) -> None:
        """A store at the Redis that `.env` names."""
        self.store = Store.connect(Settings.load({}, env_file=str(self.directory / ".env")))
        self._stores.append(self.store)

    def restart_redis(self) -> None:
        """Start the primary, on its data if it has some."""
        self._redis[self._primary].start(self._places[self._primary], self._ports[self._primary])

    def kill_redis(self) -> None:
        """Kill the primary (-9)."""
        server = self._redis[self._primary]
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_for("it is dead", lambda: not server.alive)
        server.stop()

    def limit_memory(self, limit: str) -> None:
        """Give the primary so much memory."""
        with redis.Redis(port=self._ports[self._primary]) as client:
            client.config_set("maxmemory", limit)

    def lose_primary(self) -> None:
        """Kill the primary when its replica has all that it had."""
        first, second = self._ports
        self._redis[1].start(self._places[1], second, extra=("--replicaof", "127.0.0.1", str(first)))
        with redis.Redis(port=second) as client:
            wait_for("it is in step", lambda: client.info("replication")["master_link_status"] == "up")
        with redis.Redis(port=first) as client:
            client.set("last", 1)
            assert client.wait(1, 30_000) == 1
        self.kill_redis()
        self._primary = 1

    def close(self) -> None:
        """End everything."""
        for store in self._stores:
            store.close()
        if hasattr(self, "process"):
            self.clear()
        for one in self._redis:
            one.stop()

    def _install(self, name: str, *, broken: bool) -> None:
        make_release(self.directory, name, breaks=f"import shop; shop.broken = {broken}")
        home, now = Home(self.directory), datetime.now(UTC).isoformat()
        home.mark(Release(name=name, source="", commit=None, installed_at=now, proven_at=now))
        home.switch(name)

    # -- what the operator does ---------------------------------------------------------------------------------------

    def type(self, command: str) -> tuple[int, str]:
        """Type a command of the page in the home; its exit code, and what is shown."""
        for said, real in self._names().items():
            command = command.replace(said, real)
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONG_COMMAND,
            check=False,
        )
        output = ended.stdout
        for said, real in self._names().items():
            output = output.replace(real, said)
        return ended.returncode, output.replace(socket.gethostname(), "shop-1")

    def _names(self) -> dict[str, str]:
        first, second = self._ports
        return {
            "redis-1:6379": f"127.0.0.1:{first}",
            "redis-2:6379": f"127.0.0.1:{second}",
            "localhost:7777": f"127.0.0.1:{self.port}",
        }

    def unsettled(self) -> list[str]:
        """What is not as it was at the beginning."""
        found = [] if self.store.intake.status().accept else ["the intake is off"]
        for name in self.store.queues():
            counts = self.store.counts(name)
            kept = {MessageState.DONE, MessageState.CANCELLED}
            found += [
                f"{name}: {number} {state}"
                for state, number in counts.messages.items()
                if number and state not in kept
            ]
            found += [f"{name} is paused"] if counts.paused else []
        return found

"""The Redis server itself: what it is, how it is set up, and how fast it answers. Only looks."""

import statistics
import time
from dataclasses import dataclass, field

from lockstep import scripts
from lockstep.calls import Calls
from lockstep.errors import RedisUnavailable, ScriptFailed


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself."""

    name: str  #: redis or valkey
    version: tuple[int, ...]  #: of that product: major, minor, patch
    policy: str  #: what it drops when its memory is full: ``noeviction``, …; empty: it does not say
    maxmemory: int  #: bytes; 0: no limit
    used_memory: int  #: bytes
    append_only: bool  #: it writes each command to its file
    last_write_ok: bool  #: to the append-only file
    last_save_ok: bool  #: of a snapshot
    role: str  #: master or slave
    values: dict[str, str] = field(repr=False)  #: everything, as the server names it

    @property
    def title(self) -> str:
        """Name and version for people."""
        return f"{self.name.capitalize()} {'.'.join(map(str, self.version))}"


class Server:
    """Looks at the server; a part of the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def info(self) -> ServerInfo:
        """What it says of itself."""
        lines = bytes(self._calls.command("INFO")).decode(errors="replace").splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
        valkey = "valkey_version" in values
        version = values["valkey_version" if valkey else "redis_version"]
        return ServerInfo(
            name="valkey" if valkey else "redis",
            version=tuple(int(part) for part in version.split(".") if part.isdigit()),
            policy=values.get("maxmemory_policy", ""),
            maxmemory=int(values.get("maxmemory", 0)),
            used_memory=int(values["used_memory"]),
            append_only=values.get("aof_enabled") == "1",
            last_write_ok=values.get("aof_last_write_status", "ok") == "ok",
            last_save_ok=values.get("rdb_last_bgsave_status", "ok") == "ok",
            role=values.get("role", "master"),
            values=values,
        )

    def config(self, name: str) -> str | None:
        """One parameter of its configuration; None: it keeps that to itself, as many hosted ones do."""
        try:
            reply = self._calls.command("CONFIG", "GET", name)
        except (ScriptFailed, RedisUnavailable):
            self._calls.command("PING")  # away, or only unwilling?
            return None
        return reply[1].decode() if reply else None

    def latency(self, times: int = 20) -> float:
        """Seconds that an answer takes, the median of so many PINGs over one connection."""
        self._calls.command("PING")  # the connection stands

        def ping() -> float:
            began = time.perf_counter()
            self._calls.command("PING")
            return time.perf_counter() - began

        return statistics.median(ping() for _ in range(times))

    def clock_ahead(self) -> float:
        """Seconds that the server's clock is before this machine's, give or take half a round trip."""
        sent = time.time()
        seconds, micros = self._calls.command("TIME")
        return float(int(seconds) + int(micros) / 1e6 - (sent + time.time()) / 2)

    def load_scripts(self) -> int:
        """Let the server compile every script; answers how many there are.

        Raises:
          ScriptFailed: it cannot compile one.
          RedisUnavailable: it lets this user load none, for instance.
        """
        names = scripts.names()
        for name in names:
            script = scripts.load(name)
            try:
                loaded = bytes(self._calls.command("SCRIPT", "LOAD", script.text)).decode()
            except ScriptFailed as error:
                raise ScriptFailed(name, str(error)) from None
            if loaded != script.sha:
                raise ScriptFailed(name, f"the server knows it as {loaded}, expected {script.sha}")
        return len(names)

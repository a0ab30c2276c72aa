"""What Redis says about itself while the bench runs."""

import time
from dataclasses import dataclass
from typing import Any, Final

import redis

_END: Final = "end-of-watch"


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of the server at one moment."""

    cpu_ms: float
    bytes: int

    def cpu_since(self, earlier: "Usage") -> float:
        """Milliseconds of CPU that the server used since."""
        return self.cpu_ms - earlier.cpu_ms


class Server:
    """The server under both systems, seen by a client of the bench's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = redis.Redis.from_url(url)

    def empty(self) -> None:
        """Delete everything; scripts that were loaded stay."""
        self._client.flushall()

    def usage(self) -> Usage:
        """CPU time and memory now."""
        info: dict[str, Any] = self._client.info()
        cpu = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return Usage(cpu_ms=cpu * 1000, bytes=int(info["used_memory"]))

    def version(self) -> str:
        """Which server it is."""
        info: dict[str, Any] = self._client.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}"

    def commands_sent(self, seconds: float) -> int:
        """Commands that clients send in the next ``seconds``; those inside scripts are not counted."""
        count = 0
        with self._client.monitor() as monitor:
            time.sleep(seconds)
            self._client.echo(_END)
            while _END not in (command := monitor.next_command())["command"]:
                count += command["client_type"] != "lua"
        return count

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

"""Whether Redis has memory left for more messages: those that are there need some until they are done."""

import time
from typing import Final

from lockstep.calls import Calls
from lockstep.errors import MemoryLow

#: Seconds for which a process relies on what it saw.
_INTERVAL: Final = 1.0


class Memory:
    """Looks at Redis's memory, at most once a second; a part of the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._looked_at = float("-inf")
        self._low: MemoryLow | None = None

    def check(self) -> None:
        """Return while Redis uses less than MAX_MEMORY_PERCENT of its limit.

        Raises:
          MemoryLow: it uses more.
        """
        now = time.monotonic()
        if now - self._looked_at >= _INTERVAL:
            self._looked_at = now  # before the look: other threads need not look as well
            self._low = self._look()
        if self._low is not None:
            raise MemoryLow(self._low.used, self._low.most)

    def _look(self) -> MemoryLow | None:
        percent = self._calls.settings.max_memory_percent
        used, most = self.read()
        return MemoryLow(used, most) if most and used * 100 >= most * percent else None

    def read(self) -> tuple[int, int]:
        """Bytes that Redis uses, and its limit; 0: none."""
        lines = bytes(self._calls.command("INFO", "memory")).split(b"\r\n")
        values = dict(line.split(b":", 1) for line in lines if b":" in line)
        return int(values[b"used_memory"]), int(values.get(b"maxmemory", 0))

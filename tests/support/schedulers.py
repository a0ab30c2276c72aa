"""Scheduler processes, and what Redis holds of their schedules."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockstep.keys import global_key
from lockstep.schedules import ScheduleRecord
from lockstep.store import Store
from tests.support.fleet import Program
from tests.support.waiting import PATIENCE, wait_for

#: Seconds within which a scheduler that was told to stop must have ended; on a calm machine it takes less than one.
SOON = 3.0
MINUTE, HOUR = 60_000, 3_600_000

#: The actors of ``periodic_actors``.
ACTORS = ("tick.all", "tick.last", "tick.skip")

#: Places in a packed schedule, from 0 (``lua/includes/schedule.lua``).
MARK, CLAIMER, CLAIMED = 2, 4, 5

_PATCH = """
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return 0 end
local schedule = cmsgpack.unpack(packed)
for i = 2, #ARGV, 2 do schedule[ARGV[i] + 1] = tonumber(ARGV[i + 1]) or ARGV[i + 1] end
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(schedule))
return 1
"""


class Process(Program):
    """One scheduler process in a session of its own."""

    def __init__(self, directory: Path, environment: dict[str, str], name: str, *command: str) -> None:
        command = command or ("-c", "from lockstep.cli import main; main()", "scheduler")
        super().__init__(
            sys.executable,
            *command,
            directory=directory,
            environment={"LOG_FORMAT": "json", **environment},
            name=name,
        )

    def stop(self, signum: int = 15) -> tuple[int, float]:
        """The exit code, and the seconds that it took."""
        asked = time.monotonic()
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE), time.monotonic() - asked


class Ticks:
    """The schedules of a namespace, and how a test changes what Redis knows of them."""

    def __init__(self, client: Any, store: Store) -> None:
        self._redis, self._store = client, store
        self._key = global_key(store.settings.queue_namespace, "schedules")
        self.minute = self.now() // 60_000  #: the minute in which the test began

    def now(self) -> int:
        seconds, micros = self._redis.time()
        return int(seconds * 1000 + micros // 1000)

    def cron(self, minutes_ago: int) -> str:
        """An expression whose last tick was so many minutes ago; it comes once an hour."""
        return f"{(self.minute - minutes_ago) % 60} * * * *"

    def patch(self, actor: str, **values: Any) -> bool:
        """Change elements of a packed schedule, named as in its include."""
        places = {"mark": MARK, "claimer": CLAIMER, "claimed": CLAIMED}
        flat = [part for name, value in values.items() for part in (places[name], value)]
        return bool(self._redis.eval(_PATCH, 1, self._key, actor, *flat))

    def sent(self, queue: str = "ticks") -> int:
        """Messages that the queue has accepted."""
        if queue not in self._store.queues():
            return 0
        return sum(self._store.counts(queue).messages.values())

    def record(self, actor: str) -> ScheduleRecord | None:
        """What is listed of a schedule; None: nothing."""
        records = self._store.schedules.listing().records
        return next((one for one in records if one.schedule.actor == actor), None)

    def schedulers(self) -> dict[str, int]:
        """The schedulers that live."""
        return self._store.schedules.listing().schedulers

    def duplicates(self) -> int:
        """How often an id was sent that was known."""
        return sum(self._store.counts(queue).stats.get("deduplicated", 0) for queue in self._store.queues())


#: Starts a scheduler process; lets one declare the actors with an expression, and sets their marks.
Start = Callable[..., Process]
Declare = Callable[[str, int], None]


def decided(ticks: Ticks, mark: int) -> None:
    """Return when every schedule of ``periodic_actors`` is decided up to a mark."""
    wait_for("every schedule is decided", lambda: all(ticks.record(a).mark_ms == mark for a in ACTORS))

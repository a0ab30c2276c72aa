"""Looks at a run while it goes on: the queue in numbers, and how a sample of its messages fares."""

import asyncio
import random
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from lockstep.errors import ServiceAway, ServiceRefused
from lockstep.loadtest.api import Api
from lockstep.loadtest.plan import Plan
from lockstep.loadtest.tally import Tally

#: Seconds between two looks.
_INTERVAL: Final = 1.0

#: Messages that join the sample at each look, and that it waits for at once: few, for looking is load as well.
_SAMPLE: Final = 10
_WAITED_FOR: Final = 100

_UNFINISHED: Final = ("scheduled", "waiting", "running", "backoff")


class Follower:
    """Writes what it sees into a tally. What it cannot see now it sees later: the sender tells of failures."""

    def __init__(self, plan: Plan, api: Api, tally: Tally, before: dict[str, int]) -> None:
        """``before``: attempts that were done in each queue before the run."""
        self._plan = plan
        self._api = api
        self._tally = tally
        self._before = before
        self._sampled: dict[int, int] = {}  # group -> number of its message that was taken last
        self._waited_for: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with suppress(ServiceAway, ServiceRefused):
                await self._look()
            await asyncio.sleep(_INTERVAL)

    async def _look(self) -> None:
        queue = self._tally.queue
        if not queue:
            return
        seen = await self._api.get(f"/api/v1/queues/{queue}", _INTERVAL)
        self._tally.backlog = sum(seen["messages"][state] for state in _UNFINISHED)
        self._tally.done = seen["totals"]["attempts"]["done"] - self._before.get(queue, 0)
        self._choose()
        for message_id in tuple(self._waited_for):
            record = await self._api.message(message_id, _INTERVAL)
            if record is None or record["state"] in ("dead", "cancelled"):
                self._waited_for.discard(message_id)
            elif record["state"] == "done":
                self._waited_for.discard(message_id)
                self._note(record)

    def _choose(self) -> None:
        """The last accepted message of some groups; none while many are waited for: no slow one is dropped."""
        some = [
            group for group, number in enumerate(self._tally.accepted) if number > self._sampled.get(group, 0)
        ]
        for group in random.sample(some, min(_SAMPLE, len(some), _WAITED_FOR - len(self._waited_for))):
            self._sampled[group] = self._tally.accepted[group]
            self._waited_for.add(self._plan.message_id(group, self._tally.accepted[group] - 1))

    def _note(self, record: dict[str, Any]) -> None:
        accepted = datetime.fromisoformat(record["enqueued_at"])
        started = datetime.fromisoformat(record["attempts"][0]["started_at"])
        ended = datetime.fromisoformat(record["attempts"][-1]["ended_at"])
        self._tally.wait.add((started - accepted).total_seconds() * 1000)
        self._tally.latency.add((ended - accepted).total_seconds() * 1000)

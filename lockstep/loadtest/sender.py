"""Sends at a fixed rate, whatever the service does: when a message is due does not depend on the answers before it.

Only within a group the next message waits until the one before is accepted, as every client must that wants an order;
the time that it waits is part of its own latency. So a service that stalls cannot hide it (coordinated omission).
"""

import asyncio
import itertools
import time
from typing import Any, Final

import httpx

from lockstep.errors import ServiceRefused
from lockstep.loadtest.api import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PASSING,
    REQUEST_SECONDS,
    decoded,
    refusal,
    retry_after,
)
from lockstep.loadtest.plan import Plan
from lockstep.loadtest.tally import Tally

#: Seconds after which a message counts as sent late.
LATE_SECONDS: Final = 0.05

#: Seconds after the end of the run within which what is due must be accepted.
OVERTIME: Final = 3 * REQUEST_SECONDS


class Sender:
    """Sends the messages of a plan and counts what happens."""

    def __init__(self, plan: Plan, client: httpx.AsyncClient, tally: Tally, stop: asyncio.Event) -> None:
        self._plan = plan
        self._client = client
        self._tally = tally
        self._stop = stop  #: set it to send nothing more; what is on its way is waited for
        self._started = 0.0
        self.refused: ServiceRefused | None = None  #: the answer that ended it early; None: none did

    async def run(self) -> None:
        """Send all; returns when each is accepted, was given up, or nothing more is to be sent."""
        self._started = time.monotonic()
        try:
            async with asyncio.TaskGroup() as tasks:
                for group in range(min(self._plan.groups, self._plan.total)):
                    tasks.create_task(self._send_group(group))
        finally:
            self._tally.elapsed = time.monotonic() - self._started

    async def _send_group(self, group: int) -> None:
        for number in itertools.count():
            if not self._plan.has(group, number):
                break
            due = self._started + self._plan.due(group, number)
            if not await self._wait_until(due) or not await self._send(group, number, due):
                break
            self._tally.accepted[group] += 1

    async def _wait_until(self, when: float) -> bool:
        """Whether that time came before the end of sending."""
        if time.monotonic() < when and not self._stop.is_set():
            try:
                async with asyncio.timeout(when - time.monotonic()):
                    await self._stop.wait()
            except TimeoutError:
                pass
        return not self._stop.is_set()

    async def _send(self, group: int, number: int, due: float) -> bool:
        """Send one message until it is accepted; answers whether it was, as far as is known."""
        late = time.monotonic() - due
        self._tally.sent += 1
        self._tally.late += late > LATE_SECONDS
        self._tally.latest = max(self._tally.latest, late)
        request, pause = self._plan.request(group, number), FIRST_PAUSE
        give_up = self._started + self._plan.duration + OVERTIME
        while (asked_to_wait := await self._try(request)) is not None:
            # The answer may have been lost: the same id again is the same message.
            wait = asked_to_wait or pause
            pause = min(2 * pause, LONGEST_PAUSE)
            if time.monotonic() + wait > give_up or not await self._wait_until(time.monotonic() + wait):
                self._tally.unanswered.add(group)
                return False
        self._tally.response.add((time.monotonic() - due) * 1000)
        return True

    async def _try(self, request: dict[str, Any]) -> float | None:
        """Send one request; answers None when its message is accepted, else the seconds it asks to wait, 0 for none."""
        tally, started = self._tally, time.monotonic()
        try:
            response = await self._client.post("/api/v1/messages", json=request)
        except httpx.HTTPError as error:
            tally.failed[type(error).__name__] += 1
            return 0.0
        tally.request.add((time.monotonic() - started) * 1000)
        if response.is_success:
            return self._take(response, request)
        wait = retry_after(response)
        if wait is not None and response.status_code in PASSING:
            tally.refused[str(response.status_code)] += 1
            return wait
        tally.failed[str(response.status_code)] += 1
        if response.status_code not in PASSING:
            self._give_up(refusal(response))
        return 0.0

    def _take(self, response: httpx.Response, request: dict[str, Any]) -> float | None:
        try:
            answer = decoded(response)
            if answer.get("id") != request["id"]:
                raise ServiceRefused(f"{response.url} is no Lockstep: it answers for another message")
        except ServiceRefused as error:
            self._tally.failed["no Lockstep"] += 1
            self._give_up(error)
            return 0.0
        self._tally.queue = answer["queue"]
        self._tally.replayed += response.status_code == httpx.codes.OK
        return None

    def _give_up(self, error: ServiceRefused) -> None:
        """It would say the same of every message."""
        self.refused = self.refused or error
        self._stop.set()

"""Waits until the messages of a run are finished, then reads every record and checks it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from lockstep.loadtest.api import Api
from lockstep.loadtest.check import FINAL, GroupCheck, Verdict
from lockstep.loadtest.plan import Plan
from lockstep.loadtest.tally import Tally

#: Records that are read at once.
_READERS: Final = 16

#: Seconds between two looks at a message that is not finished.
_LOOK_SECONDS: Final = 0.25

#: Seconds that reading one record may take, tries included: a service that restarts is back by then.
_READ_SECONDS: Final = 60.0


class Verifier:
    """Judges what a service made of the messages of a plan."""

    def __init__(self, plan: Plan, api: Api, tally: Tally) -> None:
        self._plan = plan
        self._api = api
        self._tally = tally
        self._readers = asyncio.Semaphore(_READERS)
        self.verdict = Verdict()

    async def drain(self) -> bool:
        """Wait for the last message of each group, at most the plan's timeout; answers whether all are finished.

        Since a group is in order, all before its last are finished as well.

        Raises:
          ServiceAway: it gives no answer for long.
        """
        deadline = time.monotonic() + self._plan.timeout
        return await self._each(lambda group: self._drain_group(group, deadline))

    async def check(self) -> None:
        """Read and check every record; the verdict is complete afterwards.

        Raises:
          ServiceAway: it gives no answer for long.
        """
        await self._each(self._check_group)

    async def _each(self, work: Callable[[int], Coroutine[Any, Any, bool]]) -> bool:
        """Do it for each group at once; answers whether all answered yes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                started = [tasks.create_task(work(group)) for group in range(self._tally.groups)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return all(task.result() for task in started)

    async def _drain_group(self, group: int, deadline: float) -> bool:
        for number in self._numbers(group, last=True):
            message_id = self._plan.message_id(group, number)
            while (record := await self._read(message_id)) is not None and record["state"] not in FINAL:
                if time.monotonic() >= deadline:
                    return False
                await asyncio.sleep(_LOOK_SECONDS)
        return True

    async def _check_group(self, group: int) -> bool:
        check = GroupCheck(self._plan.group_key(group), self.verdict)
        for number in self._numbers(group):
            message_id = self._plan.message_id(group, number)
            record = await self._read(message_id)
            if record is not None or number < self._tally.accepted[group]:
                check.add(message_id, record)
        return True

    def _numbers(self, group: int, *, last: bool = False) -> range:
        """The messages of a group that should be there, and one more that may be: whose answers were lost."""
        accepted = self._tally.accepted[group]
        return range(max(0, accepted - 1) if last else 0, accepted + (group in self._tally.unanswered))

    async def _read(self, message_id: str) -> dict[str, Any] | None:
        async with self._readers:
            return await self._api.message(message_id, _READ_SECONDS)

"""One load test from the first look to the verdict."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import httpx

from lockstep.errors import ServiceRefused
from lockstep.loadtest.api import Api, make_client
from lockstep.loadtest.check import Verdict
from lockstep.loadtest.follow import Follower
from lockstep.loadtest.plan import ACTOR, Plan
from lockstep.loadtest.sender import Sender
from lockstep.loadtest.tally import Tally
from lockstep.loadtest.verify import Verifier

#: Seconds between two updates of the view.
_SHOW_SECONDS: Final = 0.25

#: Seconds in which the service must answer at the beginning.
_HELLO_SECONDS: Final = 3.0


class Phase(StrEnum):
    """What a run does."""

    SENDING = "sending"
    DRAINING = "draining"
    CHECKING = "checking"
    OVER = "over"


@dataclass(slots=True)
class Run:
    """One run and what is known of it."""

    plan: Plan
    tally: Tally
    phase: Phase = Phase.SENDING
    interrupted: bool = False  #: sending ended early because somebody asked
    refused: str = ""  #: sending ended early because the service refused; empty: it did not
    drained: bool = False
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def missing(self) -> int:
        """Messages that should have been accepted, and were not."""
        return 0 if self.interrupted else self.plan.total - self.tally.accepted_total

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; empty: nothing is, save perhaps that messages are not finished."""
        found = [f"{number} messages: {kind}" for kind, number in self.verdict.found.items()]
        if self.tally.failed:
            found.append(f"{self.tally.failed.total()} requests failed")
        if self.missing:
            found.append(f"{self.missing} messages were not accepted")
        if self.refused:
            found.append(self.refused)
        return found


async def run_loadtest(plan: Plan, url: str, key: str | None, show: Callable[[Run], None]) -> Run:
    """Send, wait until all is done, check. ``show`` is called a few times a second.

    The first SIGINT or SIGTERM ends the sending; a later one cancels the caller's task.

    Raises:
      ServiceAway: the service does not answer at the beginning, or for long while records are read.
      ServiceRefused: it refuses: the key, the actor, the intake; then nothing was sent.
    """
    run, stop = Run(plan, Tally(plan.groups)), asyncio.Event()
    _listen(run, stop)
    async with make_client(url, key) as client:
        api = Api(client)
        before = await _look_first(api)
        showing = asyncio.create_task(_keep_showing(run, show))
        try:
            await _send(run, client, Follower(plan, api, run.tally, before), stop)
            run.phase = Phase.DRAINING
            verifier = Verifier(plan, api, run.tally)
            run.verdict = verifier.verdict
            run.drained = await verifier.drain()
            run.phase = Phase.CHECKING
            await verifier.check()
            run.phase = Phase.OVER
        finally:
            showing.cancel()
    return run


async def _look_first(api: Api) -> dict[str, int]:
    """The attempts that were done in each queue so far.

    Raises:
      ServiceRefused: nothing would be accepted.
    """
    intake = await api.get("/api/v1/intake", _HELLO_SECONDS)
    if not intake.get("accept"):
        raise ServiceRefused(
            f"the intake is off ({intake.get('why') or 'nobody said why'}): lockstep accept on"
        )
    queues = await api.get("/api/v1/queues", _HELLO_SECONDS)
    return {queue["name"]: queue["totals"]["attempts"]["done"] for queue in queues["items"]}


async def _send(run: Run, client: httpx.AsyncClient, follower: Follower, stop: asyncio.Event) -> None:
    sender = Sender(run.plan, client, run.tally, stop)
    following = asyncio.create_task(follower.run())
    try:
        await sender.run()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
    if sender.refused is not None:
        if not run.tally.accepted_total:
            raise _explained(sender.refused, run.plan)
        run.refused = str(sender.refused)


def _explained(error: ServiceRefused, plan: Plan) -> ServiceRefused:
    if plan.actor == ACTOR and error.status == httpx.codes.NOT_FOUND:
        return ServiceRefused(
            f"{error}\nSet LOADTEST_ACTOR=true for its web and worker processes.", status=error.status
        )
    return error


async def _keep_showing(run: Run, show: Callable[[Run], None]) -> None:
    while True:
        show(run)
        await asyncio.sleep(_SHOW_SECONDS)


def _listen(run: Run, stop: asyncio.Event) -> None:
    task = asyncio.current_task()
    assert task is not None

    def hear() -> None:
        if run.phase is Phase.SENDING and not run.interrupted:
            run.interrupted = True
            stop.set()
        else:
            task.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, hear)

"""Runs the checks: first the two without which there is nothing to look at, then the table."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from lockstep.errors import InvalidSettings, LockstepError
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.verifying.checks import CHECKS, Check
from lockstep.verifying.findings import Deployment, Finding, Status, failed, fine


@dataclass(frozen=True, slots=True)
class Checked:
    """A check and what it found."""

    name: str
    finding: Finding

    def view(self) -> dict[str, Any]:
        """As JSON has it."""
        one = self.finding
        return {
            "check": self.name,
            "status": one.status.value,
            "told": one.told,
            "advice": one.advice or None,
        }


def verify(
    load: Callable[[], tuple[Settings, Mapping[str, str]]], *, production: bool, before: bool
) -> Iterator[Checked]:
    """Each check as it ends.

    Args:
      load: answers the settings and the environment that processes start with; raises what is wrong with them.
      production: with those that count before going live.
      before: without those that look at processes: before any runs, or in the middle of a deploy.
    """
    wanted = [
        check for check in CHECKS if (production or not check.production) and not (before and check.processes)
    ]
    try:
        settings, environment = load()
    except InvalidSettings as error:
        yield Checked("settings", failed(str(error), "see docs/settings.md"))
        yield from _skip(wanted, "the settings are wrong")
        return
    yield Checked("settings", fine("all can be read"))
    with closing(Store.connect(settings)) as store:
        deployment = Deployment(settings, environment, store, production)
        reachable = _reach(deployment)
        yield Checked("redis", reachable)
        for check in wanted:
            if check.redis and reachable.status is not Status.OK:
                yield from _skip([check], "Redis does not answer")
            else:
                yield Checked(check.name, run_check(check, deployment))


def _reach(deployment: Deployment) -> Finding:
    try:
        deployment.store.ping()
    except LockstepError as error:
        return failed(str(error), "see that it runs, and that REDIS_URL, password and certificate are right")
    return fine(f"{deployment.server.title} answers")


def run_check(check: Check, deployment: Deployment) -> Finding:
    """What one check finds."""
    try:
        return check.run(deployment)
    except LockstepError as error:  # Redis went away meanwhile, or refuses what this check asks
        return failed(str(error), "say it again; if it stays, this server refuses what Lockstep needs")


def _skip(checks: list[Check], why: str) -> Iterator[Checked]:
    for check in checks:
        yield Checked(check.name, Finding(Status.SKIPPED, why))

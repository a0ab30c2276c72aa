"""What the policies cost: Lockstep with each of them beside Lockstep without, in turn, in one run."""

import os
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

from rich.table import Table

from benchmarks import measure
from benchmarks.rounds import Plan
from benchmarks.senders import LockstepSender
from benchmarks.server import Server
from benchmarks.worker import POLICY

NONE: Final = "none"

#: Each policy as settings that use it for every message and hold up none.
POLICIES: Final[Mapping[str, Mapping[str, str]]] = {
    NONE: {},
    "rate limit": {"RATE_LIMITS": "bench=100000/1s"},
    "rate limit of each group": {"RATE_LIMITS": "bench=10000/10s per group"},
    "concurrency limit": {"CONCURRENCY_LIMITS": "bench=10000"},
    "search index": {"SEARCH_INDEX": "true"},
}

#: Groups of each drain.
_GROUPS: Final = 1000

#: What a policy may leave of the rate without it.
LEAST: Final = 0.7


def run(server: Server, plan: Plan, tell: Callable[[str], None]) -> dict[str, list[measure.Drained]]:
    """Drain as often as the plan says with each policy, in turn."""
    measured: dict[str, list[measure.Drained]] = {name: [] for name in POLICIES}
    for number in range(1, plan.rounds + 1):
        for name, settings in POLICIES.items():
            tell(f"round {number}: {name}: drain {plan.messages:,} messages of {_GROUPS:,} groups")
            os.environ[POLICY] = ";".join(f"{key} {value}" for key, value in settings.items())
            sender = LockstepSender(server.url, **settings)
            measured[name].append(measure.drain(sender, server, groups=_GROUPS, messages=plan.messages))
            sender.close()
    return measured


def table(measured: Mapping[str, list[measure.Drained]], plan: Plan) -> Table:
    """The medians, and what each policy leaves of the rate without one in the same round."""
    made = Table(title=f"Lockstep with a policy: {plan.messages:,} messages, median of {plan.rounds}")
    made.add_column("policy", no_wrap=True)
    for column in ("drained a second", "of none", "at least", "Redis CPU for 1,000, ms"):
        made.add_column(column, justify="right")
    for name, drained in measured.items():
        share = share_of(measured, name)
        made.add_row(
            name,
            f"{median(one.rate for one in drained):,.0f}",
            f"{share:.2f}",
            "" if name == NONE else f"{LEAST:.2f}",
            f"{median(one.cpu_ms for one in drained):.1f}",
        )
    return made


def share_of(measured: Mapping[str, list[measure.Drained]], name: str) -> float:
    """What a policy leaves of the rate without one: the median over rounds."""
    pairs = zip(measured[name], measured[NONE], strict=True)
    return median(one.rate / without.rate for one, without in pairs)

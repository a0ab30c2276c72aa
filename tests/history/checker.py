"""Says whether a history is valid: a pure function that starts nothing and asks nobody."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.history import checks
from tests.history.causes import bites
from tests.history.checks import Violation
from tests.history.events import Event, read
from tests.history.history import Bounds, History


class Outcome(StrEnum):
    """What a history shows."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"  #: nothing is wrong, but a fault never bit: it shows nothing either


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, each broken invariant, and how often each fault bit."""

    outcome: Outcome
    violations: tuple[Violation, ...]
    evidence: dict[str, int]
    runs: int
    extra_runs: int

    @property
    def invariants(self) -> set[str]:
        """The invariants that were broken."""
        return {violation.invariant for violation in self.violations}

    def __str__(self) -> str:
        head = f"{self.outcome}: {self.runs} runs, {self.extra_runs} extra, bites {self.evidence}"
        return "\n".join([head, *map(str, self.violations)])


def check(events: Iterable[Event], bounds: Bounds | None = None) -> Verdict:
    """Hold a history to every invariant.

    A history without faults is valid or invalid. With faults it is unknown when nothing is wrong but
    one of them (by name) never bit.
    """
    history = History(events)
    limits = bounds or Bounds()
    violations = tuple(violation for each in checks.ALL for violation in each(history, limits))
    evidence = bites(history)
    outcome = Outcome.VALID if all(evidence.values()) else Outcome.UNKNOWN
    return Verdict(
        outcome=Outcome.INVALID if violations else outcome,
        violations=violations,
        evidence=evidence,
        runs=len(history.runs),
        extra_runs=history.extra_runs(),
    )


def check_file(path: Path, bounds: Bounds | None = None) -> Verdict:
    """Hold the history in a file to every invariant."""
    return check(read(path), bounds)

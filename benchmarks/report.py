"""Turns rounds into a table to read and a JSON file to keep."""

import os
import platform
import statistics
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.table import Table

from benchmarks.figures import FIGURES, Figure
from benchmarks.rounds import Plan, Round
from benchmarks.senders import LOCKSTEP, PLAIN


@dataclass(frozen=True, slots=True)
class Row:
    """One figure over all rounds; None: the system was not asked for it."""

    figure: Figure
    plain: float | None
    lockstep: float
    multiple: float | None  #: of plain Dramatiq in the same round, where the targets ask for it

    @property
    def compared(self) -> float:
        """What is held against the targets."""
        return self.lockstep if self.multiple is None else self.multiple

    @property
    def verdict(self) -> str:
        """``aim``, ``met`` or ``missed``; empty without targets."""
        figure = self.figure
        if figure.least is None or figure.aim is None:
            return ""
        if figure.met(self.compared, figure.aim):
            return "aim"
        return "met" if figure.met(self.compared, figure.least) else "missed"


def rows(rounds: list[Round]) -> list[Row]:
    """Every figure: the median of the rounds, or their sum for what must never happen."""
    return [_row(figure, rounds) for figure in FIGURES]


def table(found: list[Row], plan: Plan) -> Table:
    """The table that ``make bench`` prints."""
    title = (
        f"Lockstep, ordered, beside plain Dramatiq, not ordered: {plan.messages:,} messages of 100 bytes, "
        f"two processes of eight threads, median of {plan.rounds}"
    )
    made = Table(title=title)
    made.add_column("figure", no_wrap=True)
    for column in ("plain", "Lockstep", "times", "at least", "aim"):
        made.add_column(column, justify="right")
    made.add_column("")
    for row in found:
        figure = row.figure
        made.add_row(
            figure.label,
            _number(row.plain, figure.digits),
            _number(row.lockstep, figure.digits),
            _number(row.multiple, 2),
            _target(figure, figure.least),
            _target(figure, figure.aim),
            row.verdict,
        )
    return made


def document(found: list[Row], rounds: list[Round], plan: Plan, server: str) -> dict[str, Any]:
    """Everything that was measured, and on what, as JSON."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "dramatiq": version("dramatiq"),
            "server": server,
        },
        "plan": asdict(plan),
        "figures": {
            row.figure.key: {
                "label": row.figure.label,
                "plain": row.plain,
                "lockstep": row.lockstep,
                "multiple": row.multiple,
                "least": row.figure.least,
                "aim": row.figure.aim,
                "verdict": row.verdict,
            }
            for row in found
        },
        "rounds": rounds,
    }


def order_kept(found: list[Row]) -> bool:
    """Whether Lockstep kept the order, lost nothing and ran nothing twice, in all rounds."""
    return all(row.lockstep == 0 for row in found if row.figure.total)


def _row(figure: Figure, rounds: list[Round]) -> Row:
    join = sum if figure.total else statistics.median
    plain = [measured[PLAIN][figure.key] for measured in rounds if figure.key in measured[PLAIN]]
    lockstep = [measured[LOCKSTEP][figure.key] for measured in rounds]
    multiple = None
    if figure.ratio:
        multiple = statistics.median(ours / theirs for ours, theirs in zip(lockstep, plain, strict=True))
    return Row(figure, float(join(plain)) if plain else None, float(join(lockstep)), multiple)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _target(figure: Figure, value: float | None) -> str:
    if value is None:
        return ""
    if figure.ratio:
        return f"{value:g} times"
    return f"{value:g}" if figure.total else f"under {value:g}"

"""``lockstep reload``: restarts what runs under supervisord, one process at a time."""

import signal
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from types import FrameType
from typing import Annotated, Any

import typer
from rich.text import Text

from lockstep.cli.common import (
    NOT_READY,
    cell,
    complain,
    err,
    folding_table,
    out,
    print_json,
    settings_with_redis,
)
from lockstep.processes import ProcessType
from lockstep.release import version
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.supervision.control import LIVE, Control, Program
from lockstep.supervision.place import Place
from lockstep.supervision.readiness import Readiness
from lockstep.supervision.rolling import ORDER, Outcome, Rolling, Step, in_order
from lockstep.supervision.slots import changing, stopped
from lockstep.supervision.substitutes import Substitutes


class Asked:
    """Whether a signal asked this command to end. It ends when everything that it stopped runs again."""

    def __init__(self) -> None:
        self.so = False
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._note)

    def __call__(self) -> bool:
        """Whether it was."""
        return self.so

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.so = True


def reload(
    kind: Annotated[
        ProcessType | None, typer.Argument(metavar="[web|worker|scheduler]", help="What; all, unless given.")
    ] = None,
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Leave alone what is ready and runs this release.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document at the end.")] = False,
) -> None:
    """Restart what runs under supervisord, one process at a time; each must become ready before the next.

    At the first that does not, it stops that one, leaves the others, and ends with 3. Ctrl-C ends it after the process
    that it is at.
    """
    asked = Asked()
    settings = settings_with_redis()
    place = Place.of(settings)
    control = Control(place)
    with changing(place), closing(Store.connect(settings)) as store:
        store.ping()  # or nothing is touched
        programs = in_order(control.programs(), ORDER if kind is None else [kind.value], stopped(place))
        readiness = Readiness(control, store, settings.ready_timeout)
        if outdated:
            programs = [one for one in programs if not readiness.is_of(one, version())]
        _warn_of_lone_web(programs, control)
        substitutes = Substitutes(control, readiness, place)
        rolling = Rolling(control, readiness, substitutes, settings, asked=asked)
        outcome = rolling.run(programs, _say)
    if json:
        print_json(_view(outcome))
    else:
        out.print(_table(outcome.steps))
    _end(outcome, settings)


def _warn_of_lone_web(programs: Iterable[Program], control: Control) -> None:
    """The socket belongs to the processes of its group: when the only one ends, the socket is closed."""
    serving = [one.name for one in control.programs() if one.type == ProcessType.WEB and one.state in LIVE]
    if len(serving) == 1 and any(one.name in serving for one in programs):
        complain(
            f"{serving[0]} is the only web process: connections are refused while it restarts; "
            "set WEB_PROCESSES=2 and start supervisord again to avoid this"
        )


def _end(outcome: Outcome, settings: Settings) -> None:
    left = f" Not touched: {', '.join(outcome.left)}." if outcome.left else ""
    if failed := outcome.failed:
        lines = f" The end of its log:\n{failed.log_tail}" if failed.log_tail else ""
        complain(f"stopped at {failed.process}: {failed.problem}.{left}{lines}")
        raise typer.Exit(NOT_READY)
    if outcome.interrupted:
        complain(f"interrupted; everything runs.{left}")
        raise typer.Exit(1)


def _say(step: Step) -> None:
    """A line for each process when it is over: a drain may take its time."""
    text = step.problem or f"ready after {step.ready_seconds:.1f} s"
    err.print(f"{step.process}: {text}", soft_wrap=True)


def _view(outcome: Outcome) -> dict[str, Any]:
    failed = outcome.failed
    return {
        "items": [asdict(step) for step in outcome.steps],
        "failed": failed.process if failed else None,
        "left": outcome.left,
        "interrupted": outcome.interrupted,
    }


def _table(steps: Iterable[Step]) -> Any:
    table = folding_table("process", "instance", "version", "drain", "released", "killed", "ready")
    for step in steps:
        table.add_row(
            step.process,
            cell(step.instance),
            cell(_versions(step)),
            _seconds(step.drain_seconds),
            "" if step.released is None else str(step.released),
            Text("killed", style="red") if step.killed else "no",
            Text("no", style="red") if step.problem else _seconds(step.ready_seconds),
        )
    return table


def _versions(step: Step) -> str:
    if not (step.version or step.version_before):
        return ""
    return f"{step.version_before or '?'} -> {step.version or '?'}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"

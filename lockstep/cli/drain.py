"""``lockstep drain``: stops the intake, and waits until some queues have nothing left to do."""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from lockstep import logs
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
from lockstep.draining import LEFT, QueueLeft, holding_up, left_in
from lockstep.errors import RedisUnavailable
from lockstep.store import Store
from lockstep.switchviews import group_view

#: Seconds between two looks, and between two at what hinders.
_INTERVAL: Final = 0.25
_LOOK_CLOSER: Final = 2.0

#: Groups of each queue that are named at the end.
_NAMED: Final = 10

_log = logs.get_logger("lockstep.drain")


def drain(
    queues: Annotated[
        str | None,
        typer.Option("--queues", metavar="A,B", help="Which queues; all, unless given.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait, at most.")] = 300,
    resume: Annotated[bool, typer.Option("--resume", help="Switch the intake on again at the end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document at the end.")] = False,
) -> None:
    """Switch the intake off for all queues, and wait until nothing waits, runs, backs off or is due in these."""
    settings = settings_with_redis()
    logs.configure(settings)
    with closing(Store.connect(settings)) as store:
        names = store.queues() if queues is None else _named(queues)
        for name in names:
            store.check_queue(name)
        try:
            if store.intake.switch(accept=False, why="draining"):
                _log.info("intake.off", why="draining")
            left = _wait(store, names, timeout)
        except KeyboardInterrupt:
            complain("interrupted: the intake is off; `lockstep accept on` opens it again")
            raise typer.Exit(1) from None
        # If this process dies before here, the intake stays off: `lockstep accept on`, or drain again.
        if resume and store.intake.switch(accept=True):
            _log.info("intake.on")
        _tell(store, left, json=json)
    if left:
        raise typer.Exit(NOT_READY)


def _named(queues: str) -> list[str]:
    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names:  # a variable that is not set must not mean all
        raise typer.BadParameter("--queues: expected names of queues, separated by commas")
    return names


def _wait(store: Store, names: Sequence[str], timeout: float) -> list[QueueLeft]:
    """What is left in the end: nothing, or what there is when the time is up."""
    deadline, drained, told = time.monotonic() + timeout, set[str](), set[str]()
    looked_closer = 0.0
    columns = (
        TextColumn("draining"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=None)
        while True:
            closer = time.monotonic() - looked_closer >= _LOOK_CLOSER
            left = _look(store, names, closer=closer, deadline=deadline)
            looked_closer = time.monotonic() if closer else looked_closer
            for one in left or []:
                for hindrance in one.hindrances:
                    if (line := f"{one.queue}: {hindrance}") not in told:
                        told.add(line)
                        complain(line)
            if left is not None:
                _show(progress, task, left)
                for name in {*names} - {one.queue for one in left} - drained:
                    drained.add(name)
                    _log.info("queue.drained", queue=name)
                if not left or time.monotonic() >= deadline:
                    return left
            time.sleep(max(0.0, min(_INTERVAL, deadline - time.monotonic())))


def _look(store: Store, names: Sequence[str], *, closer: bool, deadline: float) -> list[QueueLeft] | None:
    """What is left; None while Redis is away: it may come back before the time is up."""
    try:
        return left_in(store, names, look=closer)
    except RedisUnavailable:
        if time.monotonic() >= deadline:
            raise
        return None


def _show(progress: Progress, task: TaskID, left: list[QueueLeft]) -> None:
    total = sum(one.total for one in left)
    most = max(progress.tasks[0].total or 0, total)
    progress.update(task, total=most, completed=most - total, description="; ".join(map(_line, left)))


def _line(one: QueueLeft) -> str:
    return f"{one.queue}: " + ", ".join(f"{number} {state}" for state, number in one.messages.items())


def _tell(store: Store, left: list[QueueLeft], *, json: bool) -> None:
    groups = {one.queue: holding_up(store.groups, one.queue, _NAMED) for one in left}
    if json:
        print_json(
            {
                "drained": not left,
                "accept": store.intake.status().accept,
                "left": {one.queue: {state.value: n for state, n in one.messages.items()} for one in left},
                "groups": {name: [group_view(one) for one in some] for name, some in groups.items()},
            }
        )
        return
    if not left:
        out.print("drained")
        return
    table = Table("queue", *(state.value for state in LEFT), title="Not drained")
    for one in left:
        table.add_row(cell(one.queue), *(str(one.messages.get(state, 0)) for state in LEFT))
    out.print(table)
    table = folding_table("queue", "group", "state", "depth", "head", "why", title="What holds it up")
    for name, some in groups.items():
        for view in map(group_view, some):
            table.add_row(*(cell(value) for value in (name, *_facts(view))))
    if table.row_count:
        out.print(table)


def _facts(view: dict[str, Any]) -> tuple[Any, ...]:
    why = view["why"] if view["limit"] is None else f"{view['why']} {view['limit']}"
    return view["group"], view["state"], view["depth"], view["head"], why

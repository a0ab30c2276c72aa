"""``lockstep scale``: more or fewer workers under supervisord, while the others run on."""

from contextlib import closing
from enum import StrEnum
from typing import Annotated, Final

import typer

from lockstep.cli.common import NOT_READY, complain, folding_table, out, print_json, settings_with_redis
from lockstep.cli.reload import Asked
from lockstep.store import Store
from lockstep.supervision.control import Control
from lockstep.supervision.place import Place
from lockstep.supervision.readiness import Readiness
from lockstep.supervision.scaling import Scaling
from lockstep.supervision.slots import changing

#: Workers of one machine, at most.
_MOST: Final = 64


class Scalable(StrEnum):
    """What can be scaled: web and schedulers gain nothing by more processes than are configured."""

    WORKER = "worker"


def scale(
    kind: Annotated[Scalable, typer.Argument(metavar="worker", help="What.", show_default=False)],
    count: Annotated[
        int, typer.Argument(metavar="N", min=0, max=_MOST, help="How many.", show_default=False)
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Run N workers under supervisord on this machine; the others run on. Those beyond N drain and stop."""
    Asked()  # Ctrl-C leaves no worker between two states: it is done in a while
    settings = settings_with_redis()
    place = Place.of(settings)
    control = Control(place)
    with changing(place), closing(Store.connect(settings)) as store:
        store.ping()  # or nothing is touched
        readiness = Readiness(control, store, settings.ready_timeout)
        done = Scaling(control, readiness, place, settings).to(count)
        workers = [one for one in control.programs() if one.type == kind.value]
    if json:
        items = [{"process": one.name, "state": one.state.value, "pid": one.pid} for one in workers]
        print_json({"items": items, "started": done.started, "stopped": done.stopped})
    else:
        table = folding_table("process", "state", "pid")
        for one in workers:
            table.add_row(one.name, one.state.value.lower(), str(one.pid or ""))
        out.print(table)
    if done.problem:
        lines = f"\nThe end of its log:\n{done.log_tail}" if done.log_tail else ""
        complain(f"{done.problem}; the others run on{lines}")
        raise typer.Exit(NOT_READY)

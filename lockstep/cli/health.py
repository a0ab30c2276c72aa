"""``lockstep health``: whether the processes of this machine are ready, for containers and probes."""

import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, Final

import typer

from lockstep.cli.common import NOT_READY, complain, print_json, say, settings_with_redis
from lockstep.processes import REPORT_SECONDS, ProcessRecord, ProcessState, ProcessType
from lockstep.processviews import process_view
from lockstep.store import Store

#: Seconds after its last report from which on a process counts as silent: two reports are missing.
SILENT_SECONDS: Final = 3 * REPORT_SECONDS


def health(
    type_: Annotated[
        ProcessType | None,
        typer.Argument(metavar="[web|worker|scheduler]", help="Only these.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a line.")] = False,
) -> None:
    """Say whether every process of this machine is ready: 0 when it is, 3 when not, 4 when Redis is away."""
    host = socket.gethostname()
    with closing(Store.connect(settings_with_redis())) as store:
        listing = store.processes.listing()
    mine = [one for one in listing if one.host == host and type_ in (None, one.type)]
    reasons = reasons_against(mine, type_)
    if json:
        items = [process_view(one) for one in mine]
        print_json({"ready": not reasons, "host": host, "reasons": reasons, "items": items})
    elif reasons:
        complain("; ".join(reasons))
    else:
        say(f"{len(mine)} ready")
    raise typer.Exit(NOT_READY if reasons else 0)


def reasons_against(records: Sequence[ProcessRecord], type_: ProcessType | None) -> list[str]:
    """Why these processes are not all ready; nothing when they are."""
    if not records:
        return [f"no {type_ or 'process'} of this machine has said that it runs"]
    found = []
    for one in records:
        if one.seen_ms > SILENT_SECONDS * 1000:
            found.append(f"{one.type} {one.name} was not heard of for {one.seen_ms / 1000:.1f} s")
        elif one.state is not ProcessState.READY:
            found.append(f"{one.type} {one.name} is {one.state}")
    return found

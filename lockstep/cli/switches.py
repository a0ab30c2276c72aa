"""``lockstep pause`` and ``lockstep resume``: an operator stops what is claimed, and lets it go on."""

from collections.abc import Callable
from contextlib import closing
from typing import Annotated

import typer

from lockstep.checks import check_group
from lockstep.cli.common import out, print_json, settings_with_redis
from lockstep.store import Store

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)]
InGroup = Annotated[str | None, typer.Option("--group", help="Only this group of it.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a sentence.")]


def pause(queue: Queue, group: InGroup = None, json: AsJson = False) -> None:
    """Claim nothing more of a queue or a group; what runs goes on, what is sent is accepted."""
    _switch(Store.pause, "paused", queue, group, json=json)


def resume(queue: Queue, group: InGroup = None, json: AsJson = False) -> None:
    """Claim again what was paused, each message at its place."""
    _switch(Store.resume, "resumed", queue, group, json=json)


def _switch(
    switch: Callable[[Store, str, str | None], bool], done: str, queue: str, group: str | None, *, json: bool
) -> None:
    if group is not None:
        check_group(group, "--group")
    with closing(Store.connect(settings_with_redis())) as store:
        changed = switch(store, queue, group)
    if json:
        print_json({"queue": queue, "group": group, "paused": done == "paused", "changed": changed})
        return
    what = queue if group is None else f"{queue}, group {group}"
    state = done if changed else "paused already" if done == "paused" else "not paused"
    out.print(f"{what}: {state}", markup=False, highlight=False, soft_wrap=True)

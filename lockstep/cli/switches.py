"""``lockstep pause`` and ``lockstep resume``: an operator stops what is claimed, and lets it go on."""

from collections.abc import Callable
from contextlib import closing
from typing import Annotated

import typer

from lockstep.checks import check_group
from lockstep.cli.common import print_json, say, settings_with_redis
from lockstep.limitstore import LimitStore
from lockstep.store import Store

Queue = Annotated[str | None, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)]
InGroup = Annotated[str | None, typer.Option("--group", help="Only this group of it.", show_default=False)]
OfActor = Annotated[
    str | None, typer.Option("--actor", help="Only this actor, in whatever queue.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a sentence.")]


def pause(queue: Queue = None, group: InGroup = None, actor: OfActor = None, json: AsJson = False) -> None:
    """Start nothing more of a queue, a group or an actor; what runs goes on, what is sent is accepted."""
    if actor is not None:
        _switch_actor(LimitStore.pause_actor, "paused", queue, actor, json=json)
    else:
        _switch(Store.pause, "paused", queue, group, json=json)


def resume(queue: Queue = None, group: InGroup = None, actor: OfActor = None, json: AsJson = False) -> None:
    """Start again what was paused, each message at its place."""
    if actor is not None:
        _switch_actor(LimitStore.resume_actor, "resumed", queue, actor, json=json)
    else:
        _switch(Store.resume, "resumed", queue, group, json=json)


def _switch_actor(
    switch: Callable[[LimitStore, str], bool], done: str, queue: str | None, actor: str, *, json: bool
) -> None:
    if queue is not None:
        raise typer.BadParameter("an actor is paused in whatever queue: give --actor without QUEUE")
    with closing(Store.connect(settings_with_redis())) as store:
        changed = switch(store.limits, actor)
    if json:
        print_json({"actor": actor, "paused": done == "paused", "changed": changed})
        return
    state = done if changed else "paused already" if done == "paused" else "not paused"
    say(f"actor {actor}: {state}")


def _switch(
    switch: Callable[[Store, str, str | None], bool],
    done: str,
    queue: str | None,
    group: str | None,
    *,
    json: bool,
) -> None:
    if queue is None:
        raise typer.BadParameter("expected QUEUE, or --actor")
    if group is not None:
        check_group(group, "--group")
    with closing(Store.connect(settings_with_redis())) as store:
        changed = switch(store, queue, group)
    if json:
        print_json({"queue": queue, "group": group, "paused": done == "paused", "changed": changed})
        return
    what = queue if group is None else f"{queue}, group {group}"
    state = done if changed else "paused already" if done == "paused" else "not paused"
    say(f"{what}: {state}")

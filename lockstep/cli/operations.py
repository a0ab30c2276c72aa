"""``lockstep cancel``, ``promote``, ``retry`` and ``purge``: what operators do to messages."""

from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lockstep.checks import check_group
from lockstep.cli.common import complain, err, print_json, say, settings_with_redis
from lockstep.states import MessageState
from lockstep.store import Store
from lockstep.switches import Switched, Switches
from lockstep.switchviews import switched_view


class End(StrEnum):
    """Ends of a group."""

    TAIL = "tail"
    HEAD = "head"


Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the message.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a sentence.")]

#: States that a purge empties.
_PURGED = (MessageState.SCHEDULED, MessageState.WAITING, MessageState.BACKOFF)


def cancel(message_id: Id, json: AsJson = False) -> None:
    """Take a message back; one that runs is asked to end."""
    _change(message_id, Switches.cancel, json=json)


def promote(message_id: Id, json: AsJson = False) -> None:
    """Let a message go on now that is scheduled, backs off, or holds its place."""
    _change(message_id, Switches.promote, json=json)


def retry(
    message_id: Id,
    order: Annotated[
        End, typer.Option("--order", help="Of a dead letter: to which end of its group.")
    ] = End.TAIL,
    json: AsJson = False,
) -> None:
    """Try a message again now that failed; a dead letter is redriven."""
    _change(message_id, lambda switches, id_: switches.retry(id_, order.value), json=json)


def purge(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)],
    group: Annotated[
        str | None, typer.Option("--group", help="Only this group of it.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    json: AsJson = False,
) -> None:
    """Take back all that waits, is scheduled or backs off. What runs goes on; dead letters stay."""
    if group is not None:
        check_group(group, "--group")
    what = queue if group is None else f"{queue}, group {group}"
    with closing(Store.connect(settings_with_redis())) as store:
        total = _waiting(store, queue, group)
        if not yes and not typer.confirm(f"{what}: take back {total} messages or more for good?", err=True):
            complain("nothing was purged")
            raise typer.Exit(5)
        purged = _purge(store, queue, group, total)
    if json:
        print_json({"queue": queue, "group": group, "purged": purged})
    else:
        say(f"{what}: {purged} purged")


def _change(message_id: str, change: Callable[[Switches, str], Switched], *, json: bool) -> None:
    with closing(Store.connect(settings_with_redis())) as store:
        switched = change(store.switches, message_id)
    if json:
        print_json(switched_view(switched))
        return
    what = "running, asked to end" if switched.cancel_requested else switched.state.value
    already = "" if switched.changed else " already"
    say(f"{message_id}: {what}{already}")


def _waiting(store: Store, queue: str, group: str | None) -> int:
    """How many a purge would find now; of a group, without those that are scheduled."""
    counts = store.counts(queue).messages
    return sum(counts[state] for state in _PURGED) if group is None else store.groups.depth(queue, group)


def _purge(store: Store, queue: str, group: str | None, total: int) -> int:
    columns = (TextColumn("purging"), BarColumn(), MofNCompleteColumn())
    purged = 0
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("purge", total=total)
        for number in store.purges.purge(queue, group):
            purged += number
            progress.update(task, completed=purged, total=max(total, purged))
    return purged

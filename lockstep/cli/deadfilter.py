"""How the commands on dead letters are told which ones are meant."""

import time
from typing import Annotated

import typer

from lockstep import parsing
from lockstep.deadletters import BATCH, DeadFilter
from lockstep.deadrequests import parse_filter
from lockstep.errors import InvalidMessage

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids.", show_default=False)]
Queue = Annotated[str | None, typer.Option("--queue", help="Of this queue.", show_default=False)]
Actor = Annotated[str | None, typer.Option("--actor", help="Of this actor.", show_default=False)]
Group = Annotated[str | None, typer.Option("--group", help="Of this group.", show_default=False)]
Error = Annotated[
    str | None, typer.Option("--error", help="Class of the error, or reason.", show_default=False)
]
Text = Annotated[str | None, typer.Option("--text", help="In the error's message.", show_default=False)]
Fingerprint = Annotated[
    str | None, typer.Option("--fingerprint", help="Of the error, as in the summary.", show_default=False)
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="2h", help="Died no longer ago, or not before that time.")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="10m", help="Died at least so long ago, or by that time.")
]
All = Annotated[bool, typer.Option("--all", help="All of them, when nothing else says which.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, count what matches.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def filter_of(
    queue: str | None,
    actor: str | None,
    group: str | None,
    error: str | None,
    text: str | None,
    fingerprint: str | None,
    since: str | None,
    until: str | None,
) -> DeadFilter:
    """The filter of the options that were given; a usage error names the wrong one."""
    given: dict[str, object | None] = {
        "queue": queue,
        "actor": actor,
        "group": group,
        "error": error,
        "q": text,
        "fingerprint": fingerprint,
        "since": _time(since),
        "until": _time(until),
    }
    try:
        return parse_filter({name: value for name, value in given.items() if value is not None}, "-")
    except InvalidMessage as wrong:
        name = wrong.field.removeprefix("-/")
        raise typer.BadParameter(f"--{'text' if name == 'q' else name}: {wrong.problem}") from None


def choose(ids: list[str] | None, wanted: DeadFilter, everything: bool) -> DeadFilter | list[str]:
    """Ids or a filter, one of them said in so many words."""
    filtered = wanted != DeadFilter()
    if [bool(ids), filtered, everything].count(True) != 1:
        raise typer.BadParameter("say which: ids, or a filter such as --error, or --all")
    if ids and len(ids) > BATCH:
        raise typer.BadParameter(f"at most {BATCH} ids at once")
    return list(dict.fromkeys(ids)) if ids else wanted


def _time(text: str | None) -> object | None:
    """A time as it stands, or so long ago by this machine's clock."""
    if text is None:
        return None
    try:
        return max(0, int((time.time() - parsing.duration(text)) * 1000))
    except ValueError:
        return text

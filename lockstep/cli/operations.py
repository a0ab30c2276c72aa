"""``lockstep cancel``: what operators do to single messages."""

from collections.abc import Callable
from contextlib import closing
from typing import Annotated

import typer

from lockstep.cli.common import out, print_json, settings_with_redis
from lockstep.store import Store
from lockstep.switches import Switched, Switches
from lockstep.switchviews import switched_view

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the message.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a sentence.")]


def cancel(message_id: Id, json: AsJson = False) -> None:
    """Take a message back; one that runs is asked to end."""
    _change(message_id, Switches.cancel, json=json)


def _change(message_id: str, change: Callable[[Switches, str], Switched], *, json: bool) -> None:
    with closing(Store.connect(settings_with_redis())) as store:
        switched = change(store.switches, message_id)
    if json:
        print_json(switched_view(switched))
        return
    what = "running, asked to end" if switched.cancel_requested else switched.state.value
    already = "" if switched.changed else " already"
    out.print(f"{message_id}: {what}{already}", markup=False, highlight=False, soft_wrap=True)

"""``lockstep cleanup``: finished records whose retention has ended go now."""

from contextlib import closing
from typing import Annotated

import typer

from lockstep import parsing
from lockstep.cli.common import err, out, print_json, settings_with_redis
from lockstep.store import Store


def cleanup(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="2h, 30m; else RETENTION_DONE_AGE.", show_default=False
        ),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", help="Only of this queue.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")] = False,
) -> None:
    """Remove finished records whose retention has ended."""
    age_ms = None
    if older_than is not None:
        try:
            age_ms = round(parsing.duration(older_than) * 1000)
        except ValueError as error:
            raise typer.BadParameter(f"--older-than: {error}") from None
    with closing(Store.connect(settings_with_redis())) as store, err.status("cleaning up") as status:
        removed = store.retention.cleanup(
            queue, age_ms=age_ms, progress=lambda so_far: status.update(f"{so_far.total} removed")
        )
    if json:
        print_json({"done": removed.done, "cancelled": removed.cancelled, "dead": removed.dead})
    else:
        out.print(
            f"removed: done {removed.done}, cancelled {removed.cancelled}, dead {removed.dead}",
            highlight=False,
        )

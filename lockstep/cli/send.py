"""``lockstep send``: enqueue one message, or many from a file or standard input."""

from contextlib import closing
from typing import Annotated, Any

import typer

from lockstep import parsing
from lockstep.cli.common import complain, out, print_json, say, settings_with_redis
from lockstep.cli.files import reading
from lockstep.cli.lines import LineSender
from lockstep.modules import check_actor_modules, import_actors
from lockstep.requests import parse_request
from lockstep.strictjson import parse_json


def send(
    actor: Annotated[
        str | None,
        typer.Argument(
            help="Name of the actor; with --file, of the lines that name none.", show_default=False
        ),
    ] = None,
    *,
    group: Annotated[
        str | None, typer.Option(help="Group key: its messages run one at a time, in order.")
    ] = None,
    args: Annotated[str | None, typer.Option(metavar="JSON", help="Array of arguments.")] = None,
    kwargs: Annotated[str | None, typer.Option(metavar="JSON", help="Object of named arguments.")] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="5s", help="Let it join its group that much later.")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option("--id", help="Your own id: it is accepted once, while it is known.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="PATH", help="JSON lines, a request each; - reads standard input.")
    ] = None,
    from_line: Annotated[
        int | None,
        typer.Option("--from-line", min=1, help="With --file: continue at this line.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")] = False,
) -> None:
    """Enqueue one message, or many from a file. When this ends with 0, all of them are in Redis."""
    request = _request(actor, group, args, kwargs, delay, message_id)
    if file is None:
        if actor is None:
            raise typer.BadParameter("name an actor, or a --file of messages")
        if from_line is not None:
            raise typer.BadParameter("--from-line: only with --file")
        _send_one(request, json=json)
        return
    if request.keys() - {"actor", "group"}:
        raise typer.BadParameter("with --file, arguments, ids and delays stand in its lines")
    _send_file(file, request, from_line or 1, json=json)


def _request(*values: str | None) -> dict[str, Any]:
    """The request of the options that were given, as HTTP would carry it."""
    actor, group, args, kwargs, delay, message_id = values
    given = {
        "actor": actor,
        "group": group,
        "args": _decoded("--args", args),
        "kwargs": _decoded("--kwargs", kwargs),
        "delay_ms": _milliseconds(delay),
        "id": message_id,
    }
    return {name: value for name, value in given.items() if value is not None}


def _send_one(request: dict[str, Any], *, json: bool) -> None:
    check_actor_modules(settings_with_redis())
    broker = import_actors().broker  # reads the settings, which may just have got a Redis

    with closing(broker):
        message, delay = parse_request(broker, request)
        accepted = broker.submit(message, delay=delay)
    answer = {
        "id": accepted.id,
        "queue": message.queue_name,
        "group": message.options.get("group"),
        "state": accepted.state.value,
        "sequence": accepted.sequence,
        "duplicate": accepted.duplicate,
    }
    if json:
        print_json(answer)
    else:
        known = " (this id was known already)" if accepted.duplicate else ""
        say(f"{accepted.id}  {accepted.state.value}{known}")


def _send_file(file: str, defaults: dict[str, Any], first: int, *, json: bool) -> None:
    with reading(file, "--file") as (lines, size):
        check_actor_modules(settings_with_redis())
        broker = import_actors().broker
        with closing(broker):
            sender = LineSender(broker, defaults)
            try:
                sender.send_all(lines, size, first)
            except KeyboardInterrupt:
                complain(f"interrupted: {sender.progress}")
                raise typer.Exit(1) from None
    if json:
        print_json({"accepted": sender.accepted, "duplicates": sender.duplicates})
    else:
        out.print(f"{sender.accepted} accepted, {sender.duplicates} known already")


def _decoded(option: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return parse_json(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: not JSON: {error}") from None


def _milliseconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return round(parsing.duration(text) * 1000)
    except ValueError as error:
        raise typer.BadParameter(f"--delay: {error}") from None

"""``lockstep deploy``, ``lockstep rollback``, ``lockstep releases``: which release runs on this machine."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from lockstep.cli.common import err, folding_table, out, print_json
from lockstep.deploying.home import Home
from lockstep.deploying.rollout import Rollout, Step, tail_of
from lockstep.deploying.source import Source
from lockstep.errors import DeployFailed, LockstepError, RefusedRelease
from lockstep.notices import notify
from lockstep.settings import Settings

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="Directory of the deployment [the current one].", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document at the end.")]

#: Width of the names of steps.
_WIDTH: Final = 12


def deploy(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="SOURCE", help="A checkout or tree [the current one].", show_default=False),
    ] = None,
    home: HomeOption = None,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="NAME", help="Its name [time and commit].", show_default=False),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Start supervisord, if it does not run yet.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Install a release beside the others, and let every process run on it, one after the other.

    When it does not become ready, the former one is made current again. Exits with 1 when nothing was switched,
    with 3 when it went back.
    """
    found = Source.of((source or Path.cwd()).absolute())
    at = Home((home or Path.cwd()).absolute())
    _check_places(found, at)
    name = release or _name_for(found)
    at.path(name)
    at.releases.mkdir(parents=True, exist_ok=True)
    with _rollout(at, json=json) as rollout:
        _check_unused(at, name)
        rollout.deploy(found, name, start=start)


def rollback(
    home: HomeOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="RELEASE", help="An installed release [the former one].", show_default=False
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Let every process run on the former release again, or on the one that is named.

    Exits with 1 when nothing was switched, with 3 when it did not become ready and all is as it was.
    """
    at = Home((home or Path.cwd()).absolute())
    with _rollout(at, json=json) as rollout:
        name = at.former() if to is None else to
        if name is None:
            raise RefusedRelease("there is no former release: `lockstep releases` lists what is installed")
        at.require(name)
        if name == at.current():
            raise RefusedRelease(f"{name} is current already")
        rollout.rollback(name)


def releases(home: HomeOption = None, json: AsJson = False) -> None:
    """List the releases that are installed, the newest first."""
    at = Home((home or Path.cwd()).absolute())
    current, former = at.current(), at.former()
    views = [
        {
            "name": one.name,
            "installed_at": one.installed_at,
            "activated_at": at.activated_at(one.name),
            "proven": one.proven_at is not None,
            "current": one.name == current,
            "former": one.name == former,
            "commit": one.commit,
        }
        for one in at.installed()
    ]
    if json:
        print_json({"items": views})
        return
    table = folding_table("release", "installed", "activated", "commit", "")
    for view in views:
        mark = "current" if view["current"] else "former" if view["former"] else ""
        told = (view["name"], view["installed_at"], view["activated_at"], view["commit"], mark)
        table.add_row(*(Text(str(part or "")) for part in told))
    out.print(table)


class _Console:
    """Tells each step as it goes; on standard error when standard output is one JSON document."""

    def __init__(self, *, json: bool) -> None:
        self._out = err if json else out

    def begin(self, step: str) -> None:
        self._out.print(Text(f"{step:<{_WIDTH}} …", style="bold"))

    def line(self, text: str) -> None:
        self._out.print(Text(f"{'':<{_WIDTH}} {text}", style="dim"), soft_wrap=True)

    def end(self, step: Step) -> None:
        how, style = ("ok", "green") if step.ok else ("failed", "red")
        line = Text(f"{step.name:<{_WIDTH}} ")
        line.append(how, style=style).append(f" in {step.seconds:.1f} s")
        if step.told and step.ok:
            line.append(f": {step.told}")
        self._out.print(line, soft_wrap=True)


@contextmanager
def _rollout(home: Home, *, json: bool) -> Iterator[Rollout]:
    """A rollout in a home, which nobody else changes meanwhile; what comes of it is told at the end."""
    if not home.releases.is_dir():
        raise RefusedRelease(f"{home.root} has no releases: name the directory of the deployment with --home")
    os.chdir(home.root)  # settings, data and releases count from there
    dsn = Settings.load().deploy_notify_dsn
    console = _Console(json=json)

    def tell_people(title: str, text: str) -> None:
        if dsn and not notify(dsn, f"lockstep: {title}", text):
            console.line("the notice was not taken: see DEPLOY_NOTIFY_DSN")

    with home.locked():
        rollout = Rollout(home, console, tell_people)
        error: LockstepError | None = None
        try:
            yield rollout
        except LockstepError as failure:
            error = failure
            raise
        except KeyboardInterrupt:
            error = DeployFailed("interrupted: say it again to go on, or `lockstep rollback` to go back")
            raise error from None
        finally:
            if json:
                told = {"ok": error is None, "current": home.current()}
                steps = [step.view() for step in rollout.steps]
                why = {"error": str(error), "tail": tail_of(error)} if error else {"error": None, "tail": ""}
                print_json({**told, **why, "steps": steps})
    if not json:
        out.print(f"{home.current()} is current.")


def _check_places(source: Source, home: Home) -> None:
    if source.root.resolve() == home.root.resolve():
        raise RefusedRelease(
            f"{home.root} is a source tree: name the directory of the deployment with --home"
        )
    if source.commit is None and home.root.resolve().is_relative_to(source.root.resolve()):
        raise RefusedRelease(f"{home.root} is inside {source.root}, which would be copied into itself")


def _check_unused(home: Home, name: str) -> None:
    current = home.current()
    if name == current and home.require(name).proven_at:
        raise RefusedRelease(f"{name} is current, and everything ran on it: take another name")
    if name == home.former():
        raise RefusedRelease(
            f"{name} is the former release: `lockstep rollback --to {name}`, or another name"
        )


def _name_for(source: Source) -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{source.commit or secrets.token_hex(3)}"

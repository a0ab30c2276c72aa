"""``lockstep setup``: what a release needs before it runs."""

import os
import signal
from typing import Annotated

import typer

from lockstep.cli.common import print_json, say, settings_with_redis
from lockstep.parent import die_with_parent
from lockstep.settings import Settings
from lockstep.setup import STEPS, Step, prepare_directories


def setup(
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
) -> None:
    """Make directories, note the schema of this release in Redis, and send a message there and back.

    Safe to repeat: what is done already is left alone.
    """
    steps: list[Step] = []
    # Directories first: they need no Redis, and the embedded one keeps its address there.
    steps.append(_told(prepare_directories(Settings.load()), json=json))
    settings = settings_with_redis()
    steps += [_told(step(settings), json=json) for step in STEPS[1:]]
    if json:
        print_json({"steps": [step.view() for step in steps]})
    if _is_one_line_of_many():
        _stay()


def _told(step: Step, *, json: bool) -> Step:
    if not json:
        mark = "done " if step.changed else "found"
        say(f"{mark}  {step.name}: {step.told}")
    return step


def _is_one_line_of_many() -> bool:
    """Whether a runner started all lines of the Procfile at once, and will end them all when this one ends.

    honcho names itself. foreman and those that follow it set PS to the name of the line. A platform that runs the line
    for a release sets DYNO as well, and waits for the end.
    """
    line = os.environ.get("PS", "").partition(".")[0]
    return "HONCHO_PROCESS_NAME" in os.environ or (line == "release" and "DYNO" not in os.environ)


def _stay() -> None:
    """Wait for SIGTERM, for as long as the runner lives."""
    asked = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, asked)
    die_with_parent()
    signal.sigwait(asked)

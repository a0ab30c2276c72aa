"""``lockstep setup``: what a release needs before it runs."""

import os
import signal
from typing import Annotated

import typer

from lockstep.cli.common import out, print_json, settings_with_redis
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
    if "HONCHO_PROCESS_NAME" in os.environ:
        _stay()


def _told(step: Step, *, json: bool) -> Step:
    if not json:
        mark = "done " if step.changed else "found"
        out.print(f"{mark}  {step.name}: {step.told}", markup=False, highlight=False, soft_wrap=True)
    return step


def _stay() -> None:
    """Wait for SIGTERM: ``honcho start`` runs each line of the Procfile, and ends them all when one of them ends."""
    asked = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, asked)
    die_with_parent()
    signal.sigwait(asked)

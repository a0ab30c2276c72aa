"""The command line is put together from the module of the command that is asked for, and of no other."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from lockstep.cli.commands import COMMANDS, make_app

LOADED = """
import sys
sys.argv = ["lockstep", "status", "--help"]
from lockstep.cli import main
try:
    main()
finally:
    print(*sorted(name for name in sys.modules if name.startswith("lockstep.cli.")))
"""


def test_a_command_does_not_load_the_others() -> None:
    ended = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1].split() == [
        *("lockstep.cli.commands", "lockstep.cli.common", "lockstep.cli.status")
    ]


@pytest.mark.parametrize("asked", [None, "nonsense", "--help", ""])
def test_what_is_no_command_is_told_all_of_them(asked: str | None) -> None:
    assert set(typer.main.get_command(make_app(asked)).commands) == set(COMMANDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_alone_is_the_same(name: str) -> None:
    shown = [CliRunner().invoke(app, [name, "--help"]) for app in (make_app(name), make_app())]
    assert [one.exit_code for one in shown] == [0, 0]
    assert shown[0].output == shown[1].output

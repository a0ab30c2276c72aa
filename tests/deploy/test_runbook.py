"""Every command that the runbook of the alerts says can be typed as it stands."""

import re
from pathlib import Path

from tests.support.fleet import SCRIPTS, Fleet, Program

PAGE = Path("docs/operations.md").read_text()


def test_the_commands_work(fleet: Fleet) -> None:
    typed = sorted(set(re.findall(r"^(?:\$ )?(lockstep [^\n#]+?) *(?:#.*)?$", blocks(), re.MULTILINE)))
    assert typed
    running = {}
    for number, line in enumerate(typed):
        words = line.replace("QUEUE", "messages").split()
        running[line] = Program(
            str(SCRIPTS / words[0]),
            *words[1:],
            directory=fleet.directory,
            environment=fleet.environment,
            name=f"typed-{number}",
        )
    for line, program in running.items():
        assert program.process.wait(60) == 0, f"{line}: {program.text}"


def blocks() -> str:
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

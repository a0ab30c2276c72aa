"""The lists for going live: what a machine checks has the names that `lockstep verify` says, all of them, once."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from lockstep.verifying import CHECKS
from tests.support.waiting import LONG_COMMAND

PAGE = Path("docs/going-live.md").read_text()
BEFORE, AFTER = PAGE.split("\n## After\n")
ITEMS = re.findall(r"^- \[ \] (?:`([a-z ]+)`|(\*People):\*) ?.*$", PAGE, re.MULTILINE)


def names(text: str) -> set[str]:
    return set(re.findall(r"^- \[ \] `([a-z ]+)`: \S", text, re.MULTILINE))


def test_every_item_is_a_check_or_for_people() -> None:
    assert len(ITEMS) == PAGE.count("- [ ]") > 30
    assert any(people for _, people in ITEMS)


def test_the_checks_are_those_that_there_are() -> None:
    found = [name for name, _ in ITEMS if name]

    assert sorted(found) == sorted(["settings", "redis", *(check.name for check in CHECKS)])


def test_what_looks_at_processes_comes_after() -> None:
    processes = {check.name for check in CHECKS if check.processes}

    assert processes <= names(AFTER)
    assert names(BEFORE) & processes == set()


@pytest.mark.parametrize("arguments", [("--before",), ()], ids=["before", "after"])
def test_the_command_tells_what_the_list_has(
    arguments: tuple[str, ...], redis_url: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "lockstep", "verify", "--production", *arguments],
        cwd=tmp_path,
        env={"REDIS_URL": redis_url, "PATH": sysconfig.get_path("scripts")},
        capture_output=True,
        text=True,
        timeout=LONG_COMMAND,
        check=False,
    )

    told = set(re.findall(r"^(?:ok|warning|failed|skipped) +([a-z ]+):", ended.stdout, re.MULTILINE))
    assert names(BEFORE) <= told
    assert told - names(PAGE) == set()
    assert (names(AFTER) <= told) is (not arguments)

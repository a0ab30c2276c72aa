"""The documentation names everything that is there, and nothing that is not."""

import re
from pathlib import Path

import pytest
import typer.main

from lockstep import scripts
from lockstep.cli.commands import make_app
from lockstep.settings import DOCUMENTED, Settings
from lockstep.verifying import CHECKS
from middleware import make_broker

SETTINGS = {name for name, _, _ in DOCUMENTED}
COMMANDS = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]


def test_docs_list_every_setting() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", Path("docs/settings.md").read_text(), re.MULTILINE)

    assert sorted(documented) == sorted(SETTINGS)


def test_the_example_lists_every_setting() -> None:
    documented = re.findall(r"^#?([A-Z_]+)=", Path(".env.example").read_text(), re.MULTILINE)

    assert sorted(documented) == sorted(SETTINGS)


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    enabled = tmp_path / ".env"
    enabled.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", Path(".env.example").read_text(), flags=re.MULTILINE))

    assert Settings.load({}, env_file=str(enabled)) == Settings.load({}, env_file="")


def test_docs_list_every_command() -> None:
    documented = re.findall(r"^\| `lockstep ([a-z]+)` \|", Path("docs/commands.md").read_text(), re.MULTILINE)

    assert sorted(documented) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_docs_list_every_option(name: str) -> None:
    options = {flag for option in COMMANDS[name].params for flag in option.opts if flag.startswith("--")}
    (headline,) = re.findall(
        rf"^## .*`lockstep {name}\b.*$", Path("docs/commands.md").read_text(), re.MULTILINE
    )

    assert set(re.findall(r"--[a-z-]*[a-z]", headline)) == options


def test_docs_list_every_actor_option() -> None:
    rows = re.findall(r"^\| (`.+?`) \|[ ✓]+\|", Path("docs/actors.md").read_text(), re.MULTILINE)
    broker = make_broker(Settings.load({"REDIS_URL": "redis://127.0.0.1:1"}, env_file=""))

    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(
        broker.actor_options
    )


def test_the_architecture_names_every_script() -> None:
    named = set(re.findall(r"`(\w+)`", Path("docs/architecture.md").read_text()))

    assert [name for name in scripts.names() if name not in named] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^):]+)\)", Path("README.md").read_text())

    assert links
    assert [link for link in links if not Path(link).exists()] == []
    assert {str(page) for page in Path("docs").glob("*.md")} - set(links) == set()


def test_docs_list_every_fault_test() -> None:
    page, _ = Path("docs/faults.md").read_text().split("## Faults found in use")

    assert sorted(_tests_named_in(page)) == sorted(_tests_in("tests/faults"))


def test_faults_found_in_use_name_tests_that_exist() -> None:
    _, page = Path("docs/faults.md").read_text().split("## Faults found in use")

    assert set(_tests_named_in(page)) <= set(_tests_in("tests"))


def _tests_named_in(page: str) -> list[str]:
    return [
        name
        for row in re.findall(r"\| (`test_.+`) \|$", page, re.MULTILINE)
        for name in re.findall(r"`(test_\w+)`", row)
    ]


def _tests_in(folder: str) -> list[str]:
    return [
        name
        for file in Path(folder).rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    ]


def test_docs_list_every_check_of_verify() -> None:
    rows = re.findall(r"^\| (`.+?)\s*(?:\*\w+\* )?\|", Path("docs/verifying.md").read_text(), re.MULTILINE)

    documented = [name for row in rows for name in re.findall(r"`([a-z ]+)`", row)]
    assert documented == ["settings", "redis", *(check.name for check in CHECKS)]

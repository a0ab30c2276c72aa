"""Sessions of the manual: what counts as shown, and that no block is left out."""

from pathlib import Path

import pytest

from tests.support.console import Command, sections

SHOWN = Command(
    1,
    "lockstep workers",
    (
        "┏━━━━━━━┓",
        "…",
        "│ shop-1-worker-0:4711:c9151c │ ready │ 3/8 │ 0.4 s ago │ … │",
        "at 2026-11-25T03:00:00.120Z",
    ),
)
OUTPUT = """┏━━━━━━━━━━━━━┓
┃ anything at all ┃
│ vm-worker-1:99:abcdef    │ ready │ 3/8 │ 12.0 s ago │ orders │
at 2027-01-01T00:00:00Z
"""


def test_what_differs_from_run_to_run_may() -> None:
    assert SHOWN.agrees(OUTPUT)


@pytest.mark.parametrize(
    "other",
    [
        OUTPUT.replace("ready", "draining"),
        OUTPUT.replace("3/8", "4/8"),
        OUTPUT + "lockstep: it failed\n",
        OUTPUT.replace("at 2027-01-01T00:00:00Z\n", ""),
        "",
    ],
    ids=["word", "number", "more", "less", "nothing"],
)
def test_nothing_else_may(other: str) -> None:
    assert not SHOWN.agrees(other)


def test_a_command_that_shows_nothing_says_nothing() -> None:
    assert Command(1, "true").agrees("")
    assert not Command(1, "true").agrees("something\n")


def test_a_page_is_its_sections_with_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n## One\ntext\n```console\n$ a\nshown\n$ b\n```\n## Two\n## Three\n```console\n$ c\n```\n"
    )

    assert [(one.title, [[c.text for c in block] for block in one.blocks]) for one in sections(page)] == [
        ("One", [["a", "b"]]),
        ("Three", [["c"]]),
    ]


@pytest.mark.parametrize(
    "block", ["```\nlockstep up\n```", "```sh\nlockstep up\n```", "```console\nno prompt\n```"]
)
def test_a_block_that_nobody_would_run_is_refused(tmp_path: Path, block: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"## One\n{block}\n")

    with pytest.raises(ValueError, match=r"page\.md:\d"):
        sections(page)

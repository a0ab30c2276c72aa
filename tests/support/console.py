"""Pages of the manual as sessions at a terminal: what to type, and what is shown then."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: What differs from run to run, and the word that stands for it on both sides.
_VARYING: Final = (
    (r"[\u2500-\u257f]+", " "),  # lines of tables: as wide as what is in them
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"[\w.-]+:\d+:[0-9a-f]{4,}\b", "PROCESS"),
    (r"\b\d{16}\b", "FENCE"),
    (r"\b\d+(\.\d+)?( )?(ms|s|MiB|GiB)\b", "MEASURE"),
    (r"(?<![\d.])\d+\.\d+(?![\d.])", "NUMBER"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a block, and the lines that it shows; a line or a part of one that is `…` is any."""

    line: int  #: of the page
    text: str
    shown: tuple[str, ...] = ()

    def agrees(self, output: str) -> bool:
        """Whether an output is what is shown, but for what differs from run to run."""
        wanted = "".join(_pattern(line) for line in _plain("\n".join(self.shown)))
        return re.fullmatch(wanted, "".join(f"{line}\n" for line in _plain(output))) is not None


@dataclass(slots=True)
class Section:
    """A heading, and the blocks of commands below it."""

    title: str
    blocks: list[list[Command]] = field(default_factory=list)


def sections(page: Path) -> list[Section]:
    """The sections of a page that have commands.

    Raises:
      ValueError: a block is no session at a terminal, so nothing would run it.
    """
    found = [Section("")]
    block: list[Command] | None = None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line == "```console" and block is None:
            block = []
            found[-1].blocks.append(block)
        elif line.startswith("```"):
            if block is None or line != "```":
                raise ValueError(f"{page}:{number}: every block is a ```console, so that it is run")
            block = None
        elif block is not None:
            _add(block, number, line, page)
        elif line.startswith("## "):
            found.append(Section(line.removeprefix("## ")))
    return [section for section in found if section.blocks]


def _add(block: list[Command], number: int, line: str, page: Path) -> None:
    if line.startswith("$ "):
        block.append(Command(number, line.removeprefix("$ ")))
    elif block:
        last = block.pop()
        block.append(Command(last.line, last.text, (*last.shown, line)))
    else:
        raise ValueError(f"{page}:{number}: a block begins with what is typed: $ …")


def _plain(text: str) -> Iterator[str]:
    for line in text.splitlines():
        told = line
        for varies, word in _VARYING:
            told = re.sub(varies, word, told)
        if told := " ".join(told.split()):
            yield told


def _pattern(line: str) -> str:
    if line == "…":
        return "(?:.*\n)*?"
    return re.escape(line).replace("…", ".*") + "\n"

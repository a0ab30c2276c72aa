"""Loads the Lua scripts: one file a transition, shared steps in ``lua/includes``, named by their file."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r"^-- @include (\w+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A script as Redis knows it: its text with all includes, and the SHA-1 that calls it."""

    name: str
    text: str
    sha: str


def _read(path: str) -> str:
    return files("lockstep").joinpath("lua", path).read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """The script of that name, from ``lua/{name}.lua``."""
    text = _INCLUDE.sub(lambda match: _read(f"includes/{match[1]}.lua") + "\n", _read(f"{name}.lua"))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def names() -> list[str]:
    """Every script there is."""
    lua = files("lockstep").joinpath("lua")
    return sorted(entry.name.removesuffix(".lua") for entry in lua.iterdir() if entry.name.endswith(".lua"))

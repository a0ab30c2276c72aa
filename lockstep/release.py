"""Which release of Lockstep this process runs."""

import os
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

from lockstep import clean

#: The directory that holds the releases of a deployment.
RELEASES: Final = "releases"


@cache
def version() -> str:
    """The release: RELEASE, else the name of the directory under ``releases`` it runs from, else the package's version.

    The answer stays the same for as long as the process lives, also when the directory is renamed.
    """
    found = os.environ.get("RELEASE") or _directory_name(Path(__file__)) or version_of("lockstep")
    return clean.text(found)  # as others read it: a deploy compares the two


def _directory_name(module: Path) -> str:
    """The name of the release that this module of the package is in; empty: it is in none."""
    tree = module.resolve().parents[1]
    return tree.name if tree.parent.name == RELEASES else ""

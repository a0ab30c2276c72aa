"""What a release is copied from: a checkout of git, of which what it tracks counts, or a plain tree."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockstep.errors import RefusedRelease

#: What must be in a source: without them nothing could be installed or run.
_NEEDED: Final = ("setup.cfg", "lockstep/__init__.py", "supervisor/supervisord.conf")

#: What no release takes from a plain tree, wherever it stands.
_CACHES: Final = frozenset(
    {"__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
)
#: And what only at its top belongs to a deployment or a build, not to the source.
_TOP: Final = frozenset({"data", ".env", "releases", "current", "build", "dist"})


@dataclass(frozen=True, slots=True)
class Source:
    """A tree to install."""

    root: Path
    commit: str | None  #: with ``-changed`` when files differ from it; None: it is no checkout

    @classmethod
    def of(cls, root: Path) -> "Source":
        """The source at a directory.

        Raises:
          RefusedRelease: it is no tree of Lockstep.
        """
        missing = [name for name in _NEEDED if not (root / name).is_file()]
        if missing:
            raise RefusedRelease(f"{root} is no source tree of Lockstep: it has no {', '.join(missing)}")
        commit = _git(root, "rev-parse", "--short=10", "HEAD") if (root / ".git").exists() else None
        if not commit:
            return cls(root, None)
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return cls(root, commit.strip() + ("-changed" if changed else ""))

    @property
    def told(self) -> str:
        """What is copied, for people."""
        return f"{self.root}, what git tracks at {self.commit}" if self.commit else f"{self.root}, the tree"

    def copy(self, target: Path) -> int:
        """Copy it to a directory that is not there yet; answers the number of files."""
        number = 0
        for name in self._files():
            origin, copy = self.root / name, target / name
            if origin.is_symlink() or origin.is_file():  # else git tracks it, and somebody removed it
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, copy, follow_symlinks=False)
                number += 1
        return number

    def _files(self) -> Iterator[str]:
        if self.commit is not None:
            yield from (name for name in (_git(self.root, "ls-files", "-z") or "").split("\0") if name)
            return
        for directory, directories, files in os.walk(self.root):
            at_top = Path(directory) == self.root
            left_out = _CACHES | (_TOP if at_top else frozenset())
            directories[:] = [
                name for name in directories if name not in left_out and not name.endswith(".egg-info")
            ]
            for name in files:
                if name not in left_out:
                    yield str((Path(directory) / name).relative_to(self.root))


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None: there is no git, or it does not take this for a checkout."""
    try:
        ended = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return None
    return ended.stdout if ended.returncode == 0 else None

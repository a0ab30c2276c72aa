"""A home: which releases are there, which is current, and which was before it.

What is true is the link ``current``, which is replaced in one step. ``activations.log`` only has lines added: it
says in which order releases became current. A release counts as *proven* once everything ran on it and was verified.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lockstep.errors import AlreadyRunning, NotFound, RefusedRelease
from lockstep.release import RELEASES

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MARK: Final = ".release.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release that is installed."""

    name: str
    source: str  #: what it was copied from
    commit: str | None  #: of the source, when that is a checkout
    installed_at: str  #: RFC 3339
    proven_at: str | None = None  #: when everything had run on it for the first time; None: it never has


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of a deployment; absolute."""

    root: Path

    @property
    def releases(self) -> Path:
        """The directory of all releases."""
        return self.root / RELEASES

    @property
    def link(self) -> Path:
        """The link to the current release."""
        return self.root / "current"

    def path(self, name: str) -> Path:
        """The directory of a release.

        Raises:
          RefusedRelease: that is no name of one.
        """
        if not _NAME.fullmatch(name):
            raise RefusedRelease(f"expected a name of letters, digits, '.', '_' and '-', got: {name!r}")
        return self.releases / name

    # -- looking ------------------------------------------------------------------------------------------------

    def current(self) -> str | None:
        """The name of the current release; None: there is none yet.

        Raises:
          RefusedRelease: ``current`` is something else than a link to a release of this home.
        """
        if not self.link.is_symlink():
            if self.link.exists():
                raise RefusedRelease(f"{self.link} is no link: move it away")
            return None
        target = self.root / self.link.readlink()
        if target.parent != self.releases:
            raise RefusedRelease(f"{self.link} leads to {target}, which is no release of this home")
        return target.name

    def former(self) -> str | None:
        """The release that was current before this one and was proven; None: there is none."""
        current = self.current()
        proven = (one.name for one in map(self.find, reversed(self._activated())) if one and one.proven_at)
        return next((name for name in proven if name != current), None)

    def installed(self) -> list[Release]:
        """All that are wholly installed, the newest first."""
        names = [path.name for path in self.releases.glob("*") if path.is_dir()]
        found = [release for release in map(self.find, names) if release]
        return sorted(found, key=lambda one: (one.installed_at, one.name), reverse=True)

    def find(self, name: str) -> Release | None:
        """A release; None: there is none of that name, or it is not wholly installed."""
        with suppress(OSError, ValueError, TypeError, RefusedRelease):
            mark = json.loads((self.path(name) / _MARK).read_text(encoding="utf-8"))
            return Release(**{key: mark.get(key) for key in Release.__slots__} | {"name": name})
        return None

    def require(self, name: str) -> Release:
        """A release that is wholly installed.

        Raises:
          NotFound: there is none of that name.
        """
        release = self.find(name)
        if release is None:
            raise NotFound("release", name)
        return release

    def activated_at(self, name: str) -> str | None:
        """When a release became current last; None: it never was."""
        return next((at for at, one in reversed(self._log()) if one == name), None)

    # -- changing -----------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to change releases; it ends with the process at the latest.

        Raises:
          AlreadyRunning: another process has it.
        """
        self.releases.mkdir(parents=True, exist_ok=True)
        with (self.root / "deploy.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(f"another deploy or rollback runs in {self.root}") from None
            yield

    def mark(self, release: Release) -> None:
        """Note that a release is wholly installed, or what is known of it now."""
        _write(self.path(release.name) / _MARK, json.dumps(asdict(release)) + "\n")

    def prove(self, name: str) -> None:
        """Note that everything has run on a release."""
        release = self.require(name)
        if release.proven_at is None:
            self.mark(replace(release, proven_at=now()))

    def switch(self, name: str) -> None:
        """Make a release the current one, in one step. Processes that start from now on are of it.

        Dies after the line in the log: the link still leads to the release before, and the log is only asked for others
        than that.
        """
        with (self.root / "activations.log").open("a", encoding="utf-8") as log:
            log.write(f"{now()} {name}\n")
        draft = self.root / f".current.{os.getpid()}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path(RELEASES) / name)
        draft.replace(self.link)

    def unlink(self) -> None:
        """No release is current: the first one did not come up."""
        self.link.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a release that is not current. If this dies half way, it counts as half installed."""
        path = self.path(name)
        (path / _MARK).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)

    def remove_halves(self) -> list[str]:
        """Remove what a deploy that died left half installed; answers the names."""
        # What has no name of a release is not ours.
        named = [
            path.name for path in self.releases.glob("*") if path.is_dir() and _NAME.fullmatch(path.name)
        ]
        halves = [name for name in named if not self.find(name)]
        halves = [name for name in halves if name != self.current()]
        for draft in self.root.glob(".current.*"):
            draft.unlink(missing_ok=True)
        for name in halves:
            shutil.rmtree(self.releases / name, ignore_errors=True)
        return sorted(halves)

    def prune(self, keep: int) -> list[str]:
        """Remove the oldest releases but ``keep``, never the current or the former one; answers the names."""
        needed = {self.current(), self.former()}
        others = [release.name for release in self.installed() if release.name not in needed]
        gone = others[max(0, keep - len(needed - {None})) :]
        for name in gone:
            self.remove(name)
        return gone

    def _activated(self) -> list[str]:
        return [name for _, name in self._log()]

    def _log(self) -> list[tuple[str, str]]:
        with suppress(FileNotFoundError):
            lines = (self.root / "activations.log").read_text(encoding="utf-8").splitlines()
            return [(parts[0], parts[1]) for line in lines if len(parts := line.split(" ")) == 2]  # noqa: PLR2004
        return []


def now() -> str:
    """This moment, RFC 3339 in seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)

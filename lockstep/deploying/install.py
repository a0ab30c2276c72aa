"""Installs a source as a release: a copy of its files, and a ``.venv`` with all it needs."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lockstep.deploying.home import Home, Release, now
from lockstep.deploying.running import environment_of, run
from lockstep.deploying.source import Source
from lockstep.errors import DeployFailed

#: Seconds that pip may take: it may have to build, over a slow line.
_PIP_SECONDS: Final = 1800.0


def install(home: Home, name: str, source: Source, tell: Callable[[str], None]) -> Release:
    """Install a source under a name; what is there under it, whole or half, is removed first.

    The mark of a whole release is written last. If the process dies before, the next deploy removes what is there.

    Raises:
      DeployFailed: it cannot be copied or installed; nothing of it is left.
    """
    path = home.path(name)
    try:
        home.remove(name)
        files = source.copy(path)
        tell(f"{files} files of {source.told}")
        _install_packages(path, tell)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise DeployFailed(f"{name} cannot be installed: {error}") from None
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    release = Release(name=name, source=str(source.root), commit=source.commit, installed_at=now())
    home.mark(release)
    return release


def _install_packages(path: Path, tell: Callable[[str], None]) -> None:
    scripts = path / ".venv" / "bin"
    commands = (
        (sys.executable, "-m", "venv", path / ".venv"),
        (scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", path),
    )
    for command in commands:
        ended = run(
            command, directory=path, environment=environment_of(scripts), tell=tell, timeout=_PIP_SECONDS
        )
        if ended.code:
            raise DeployFailed(f"{' '.join(map(str, command))} ended with {ended.code}", ended.tail)
    # Modules of ACTOR_MODULES beside the packages: setup.cfg only names our own.
    (packages,) = (path / ".venv" / "lib").glob("python3.*/site-packages")
    (packages / "release.pth").write_text(f"{path}\n", encoding="utf-8")


def scripts_of(path: Path) -> Path:
    """Where the commands of a release are."""
    return path / ".venv" / "bin"

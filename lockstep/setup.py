"""What must be there before a release runs: directories, the schema of the data, and a Redis that does its part.

Every step looks first and does only what is missing, so it may run at each deploy, on each machine, and again after a
death at any point.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lockstep.errors import LockstepError
from lockstep.selftest import self_test
from lockstep.settings import Settings
from lockstep.store import Store

#: Bits of a mode by which others than the owner may write.
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class SetupFailed(LockstepError):
    """Something that a release needs cannot be made."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found or did."""

    name: str
    changed: bool  #: False: it was done before, or only looks
    told: str

    def view(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"step": self.name, "changed": self.changed, "told": self.told}


def prepare_directories(settings: Settings) -> Step:
    """DATA_DIR and what is in it, writable for this user, and for no other.

    Raises:
      SetupFailed: a directory cannot be made or written to.
    """
    data = Path(settings.data_dir)
    done = [
        told
        # Whoever may write beside supervisord's socket could put another one there.
        for path, mode in ((data, 0o750), (data / "supervisor", 0o700))
        if (told := _prepare_directory(path, mode))
    ]
    return Step("directories", bool(done), "; ".join(done) or f"{data} is there and writable")


def _prepare_directory(path: Path, mode: int) -> str:
    told = []
    try:
        if not path.is_dir():
            path.mkdir(mode=mode, parents=True)
            told.append(f"made {path}")
        found = stat.S_IMODE(path.stat().st_mode)
        if found & _OTHERS_WRITE:
            path.chmod(found & ~_OTHERS_WRITE)
            told.append(f"others may not write to {path} any more")
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        user = os.geteuid()
        raise SetupFailed(
            f"DATA_DIR: {path} cannot be used by user {user}: {error.strerror or error}"
        ) from None
    return ", ".join(told)


def migrate(settings: Settings) -> Step:
    """The schema number in Redis is at least that of this release.

    Raises:
      SchemaTooNew: the data are for newer releases only.
    """
    with closing(Store.connect(settings)) as store:
        migration = store.schema.migrate()
    record = migration.record
    told = f"schema {record.number}, releases of schema {record.oldest} or later may run"
    if migration.changed:
        told += f"; before: {migration.before or 'none'}"
    return Step("schema", migration.changed, told)


def try_redis(settings: Settings) -> Step:
    """A message goes through Redis and back."""
    seconds = self_test(settings)
    return Step("self-test", changed=False, told=f"a message went through Redis in {seconds * 1000:.0f} ms")


#: In this order: each needs what is before it.
STEPS: Final[tuple[Callable[[Settings], Step], ...]] = (prepare_directories, migrate, try_redis)

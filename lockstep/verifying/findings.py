"""What a check finds, and what it may look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from lockstep.errors import LockstepError
from lockstep.modules import check_actor_modules, check_imports
from lockstep.processes import ProcessRecord
from lockstep.server import ServerInfo
from lockstep.settings import Settings
from lockstep.store import Store

#: Seconds that the actors may take to be imported.
_IMPORT_SECONDS: Final = 60.0


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  #: it works, but somebody should look
    FAILED = "failed"
    SKIPPED = "skipped"  #: what it needs is not there, and that is told by another check


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it."""

    status: Status
    told: str
    advice: str = ""  #: empty when there is nothing to do


def fine(told: str) -> Finding:
    """As it should be."""
    return Finding(Status.OK, told)


def warning(told: str, advice: str) -> Finding:
    """It works, but somebody should look."""
    return Finding(Status.WARNING, told, advice)


def failed(told: str, advice: str) -> Finding:
    """A release should not go live like this."""
    return Finding(Status.FAILED, told, advice)


@dataclass(frozen=True)
class Deployment:
    """What checks look at; what several of them need is looked up once."""

    settings: Settings
    environment: Mapping[str, str]
    store: Store
    production: bool  #: ``--production``

    def must(self, told: str, advice: str) -> Finding:
        """Fails in production, and is a warning elsewhere."""
        return (failed if self.production else warning)(told, advice)

    @cached_property
    def import_error(self) -> str | None:
        """Why the actors cannot be imported in a process of their own; None: they can."""
        try:
            check_actor_modules(self.settings)
            check_imports(self.environment, _IMPORT_SECONDS)
        except LockstepError as error:
            return str(error)
        return None

    @cached_property
    def server(self) -> ServerInfo:
        """What Redis says of itself."""
        return self.store.server.info()

    @cached_property
    def processes(self) -> list[ProcessRecord]:
        """Every process that was heard of lately."""
        return self.store.processes.listing()

    @cached_property
    def queues(self) -> list[str]:
        """Every queue."""
        return self.store.queues()

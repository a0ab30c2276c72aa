"""A worker of a release that is too old for the data claims nothing."""

import os
from typing import Any

from dramatiq.middleware import Middleware

from lockstep import logs
from lockstep.errors import SchemaTooNew, exit_code
from lockstep.schema import check_when_known

log = logs.get_logger("lockstep.schema")


class SchemaGuard(Middleware):
    """Ends the process when the data are for newer releases only; while Redis is away, nothing is claimed."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Look before anything is claimed, or as soon as Redis answers."""
        try:
            if not check_when_known(broker.store.schema, lambda refusal: _decide(broker, refusal)):
                broker.hold_back("schema")
        except SchemaTooNew as error:
            log.critical("schema.refused", error=str(error))
            _end(error)


def _decide(broker: Any, refusal: SchemaTooNew | None) -> None:
    if refusal is not None:
        _end(refusal)
    broker.let_go("schema")


def _end(refusal: SchemaTooNew) -> None:
    os._exit(exit_code(refusal))  # it holds nothing yet

"""A worker of a release that is too old for the data claims nothing."""

from typing import Any

from dramatiq.middleware import Middleware

from lockstep import logs
from lockstep.ending import end_process
from lockstep.errors import SchemaTooNew, exit_code
from lockstep.schema import check_when_known

log = logs.get_logger("lockstep.schema")


class SchemaGuard(Middleware):
    """Lets no worker start when the data are for newer releases only; while Redis is away, nothing is claimed."""

    guards = True  #: no worker starts when its boot hook fails

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Look before anything is claimed, or as soon as Redis answers.

        Raises:
          SchemaTooNew: this release may not run.
        """
        broker.hold_back("schema")
        try:
            known = check_when_known(
                broker.store.schema,
                lambda refusal: _decide(broker, refusal),
                broker.give_up,
                lambda: bool(broker.stopping),
            )
        except SchemaTooNew as error:
            log.critical("schema.refused", error=str(error))
            raise
        if known:
            broker.let_go("schema")


def _decide(broker: Any, refusal: SchemaTooNew | None) -> None:
    if refusal is None:
        broker.let_go("schema")
    elif broker.owns_process:  # it holds nothing yet; elsewhere the worker claims nothing for ever
        end_process(str(refusal), exit_code(refusal))

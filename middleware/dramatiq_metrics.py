"""Dramatiq's own metrics, for boards and alerts that know its names; only with DRAMATIQ_METRICS.

Dramatiq's middleware counts; here is what it lacks under several masters on a machine: they share its directory
(``dramatiq_prom_db``) and one of them serves its port for all, and another one when that ends.
"""

import os
import signal
import time
from typing import Any, Final

from dramatiq.middleware.prometheus import Prometheus

from lockstep import logs
from lockstep.parent import die_with_parent
from lockstep.states import Verb

#: Seconds between two tries to get the port that another master has.
_AGAIN_SECONDS: Final = 1.0

_log = logs.get_logger("lockstep.metrics")


class DramatiqMetrics(Prometheus):
    """Counts what Dramatiq's does; also retries, which it knows by another way of retrying."""

    @property
    def forks(self) -> list[Any]:
        """What the master starts beside its workers."""
        return [serve]

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """The message has run, and its outcome is decided."""
        super().after_process_message(broker, message, result=result, exception=exception)  # type: ignore[no-untyped-call]
        settlement = getattr(message, "settlement", None)
        if settlement is not None and settlement.verb is Verb.RETRY:
            self.total_retried_messages.labels(message.queue_name, message.actor_name).inc()


def serve() -> int:
    """Serve the metrics of this machine until the master ends, however it does; a process of its own."""
    # It has nothing to finish, and a second signal must not change its exit code.
    signal.signal(signal.SIGTERM, lambda signum, frame: os._exit(0))
    die_with_parent()
    (expose,) = Prometheus().forks
    while True:
        try:
            return int(expose())
        except Exception as error:
            if not isinstance(error, OSError):  # else the port is another master's, or not to be had
                _log.error("metrics.failed", exc_info=True)  # nobody notices when this process ends
            time.sleep(_AGAIN_SECONDS)

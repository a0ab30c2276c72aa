"""Closes what actors keep open when their worker stops."""

from collections.abc import Callable

from dramatiq import Broker, Middleware, Worker


class CloseAtShutdown(Middleware):
    """Calls ``close`` once the last message of a worker is done."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """No thread runs an actor any more."""
        self._close()

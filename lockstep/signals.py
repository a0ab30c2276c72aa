"""Requests to stop that come more than once: platforms signal a process directly, and again through its group."""

import signal
from typing import Final

#: What asks a process to stop.
STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def ignore_stops() -> None:
    """Hear no more of them; for a process that has stopped, and is about to end with an exit code of its own.

    An interpreter that ends drops its handlers, so a late second signal would kill it; what is ignored stays so.
    """
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)

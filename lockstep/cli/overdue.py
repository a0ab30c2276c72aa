"""Ends worker processes that do not stop: one whose actor never gives other code a turn hears no signal.

Dramatiq's master waits for them for ever. Done here rather than by supervisord, this follows the settings wherever
a worker runs.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import Final

from lockstep import logs

_ASKING: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_log = logs.get_logger("lockstep.worker")


def kill_children_when_overdue(seconds: float) -> None:
    """Kill the children of this process ``seconds`` after it was asked to stop. To be called in the main thread.

    What is done on a signal stays as it is, and may be set later.
    """
    told, tell = socket.socketpair()
    tell.setblocking(False)
    # Python writes the number of each signal that it handles there, whoever has set the handler.
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    # Signals of a child are not ours.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    # The thread takes no signal: Dramatiq keeps them waiting in its main thread until it can handle them.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
    threading.Thread(target=_wait, args=(told, tell, seconds), name="overdue", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _wait(told: socket.socket, tell: socket.socket, seconds: float) -> None:
    # ``tell`` is open for as long as this runs.
    while told.recv(1)[0] not in _ASKING:
        pass
    time.sleep(seconds)
    for child in multiprocessing.active_children():
        with suppress(Exception):  # the others must be killed whatever happens with one
            child.kill()
            _log.error("worker.overdue", process=child.pid)

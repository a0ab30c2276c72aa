"""An actor that runs long on the last thread of its worker, and shortly on the others."""

import threading
import time

import dramatiq
from dramatiq.worker import WorkerThread

SHORT, LONG = 3.5, 7.0  #: seconds


def _number(thread: threading.Thread) -> int:
    return int(thread.name.split("-")[1].split()[0])


@dramatiq.actor(actor_name="staggered", queue_name="messages", max_attempts=1)
def staggered() -> None:
    threads = [thread for thread in threading.enumerate() if isinstance(thread, WorkerThread)]
    is_last = threading.current_thread() is max(threads, key=_number)
    print(f"begins {'long' if is_last else 'short'}", flush=True)
    end = time.monotonic() + (LONG if is_last else SHORT)
    while time.monotonic() < end:
        time.sleep(0.02)
    print("has ended", flush=True)

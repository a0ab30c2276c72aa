"""An actor that runs until a file is there, and fails when it is given no name of one."""

import time
from pathlib import Path

import dramatiq


@dramatiq.actor(actor_name="slow", queue_name="messages", backoff="fixed:1h")
def slow(until: str) -> None:
    if not until:
        raise ValueError("no name")
    deadline = time.monotonic() + 300
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.02)

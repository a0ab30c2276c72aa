"""An actor that runs until a file is there."""

import time
from pathlib import Path

import dramatiq


@dramatiq.actor(actor_name="slow", queue_name="messages", max_retries=0)
def slow(until: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.02)

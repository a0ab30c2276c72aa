"""Actors that do not end when they are interrupted; ``ACTOR_MODULES`` names this module."""

import asyncio
import pathlib
import time
from concurrent.futures import ThreadPoolExecutor

import dramatiq


def _note(file: str, name: str) -> None:
    with pathlib.Path(file).open("a") as lines:
        lines.write(f"{name}\n")


@dramatiq.actor(actor_name="swallows", group="async")
async def swallows(file: str) -> None:
    """Ignores each cancellation; ends at once when it runs again."""
    path = pathlib.Path(file)
    again = path.exists() and "swallows" in path.read_text()
    _note(file, "swallows")
    while not again:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            _note(file, "cancelled")


@dramatiq.actor(actor_name="delegates", group="sync")
def delegates(file: str) -> None:
    """Waits for a thread which an interpreter that ends waits for, too; ends at once when it runs again."""
    path = pathlib.Path(file)
    again = path.exists() and "delegates" in path.read_text()
    _note(file, "delegates")
    if again:
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, 600).result()

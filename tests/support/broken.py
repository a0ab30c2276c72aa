"""Programs under supervisord that end as soon as they start, however busy the machine is."""

from pathlib import Path

#: Runs before anything is imported: supervisord takes a program that needs longer than startsecs to fail for running.
_ENDS_AT_ONCE = """
import os, pathlib, sys
if "SUPERVISOR_ENABLED" in os.environ and pathlib.Path("broken").exists() and "listener" not in sys.orig_argv:
    print("RuntimeError: broken since", flush=True)
    os._exit(1)
"""


def broken_later(directory: Path) -> dict[str, str]:
    """Return the environment in which every program but the listener fails once ``directory`` has a file ``broken``."""
    (directory / "sitecustomize.py").write_text(_ENDS_AT_ONCE)
    return {"PYTHONPATH": str(directory)}

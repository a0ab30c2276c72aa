"""Examples of the manual, run as they stand."""

import os
import subprocess
import sys

from lockstep.settings import Settings
from tests.support.waiting import PATIENCE


def run_example(code: str, settings: Settings) -> tuple[str, str]:
    """What an example prints and what it complains of, in a process of its own over the namespace of a test."""
    assert settings.redis_url is not None
    environment = {
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "LOG_LEVEL": "critical",
        "BACKOFF": "fixed:100ms",
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return result.stdout, result.stderr

"""Wait for what another process or thread does."""

import time
from collections.abc import Callable
from typing import Any, Final

#: Seconds to wait for a condition that a healthy system reaches soon. A machine with two busy cores may take many
#: times as long as a calm one, and only a test that fails waits this long.
PATIENCE: Final = 300.0

#: Seconds for a command that installs packages, or that stops and starts many processes one after the other.
LONG_COMMAND: Final = 3 * PATIENCE


def wait_for(what: str, condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Return the first true result of ``condition``; fail the test when there is none within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.01)
    return answer

"""Counts failures in a row of work that is tried again, and decides when trying again is no use.

An error of Redis is no failure in this sense: it passes. This is about defects, ours or those of a module that was
loaded, and about a machine that has no memory or threads left. One of them ends nothing, for it may pass.
"""

import time
from typing import Final

from lockstep import logs

#: A process ends when the same work failed this often in a row, and for this many seconds.
TIMES: Final = 5
SECONDS: Final = 30.0

#: Seconds between two log lines about the same work that keeps failing.
_LOG_SECONDS: Final = 60.0

#: Seconds until the first and between later tries.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0

_log = logs.get_logger("lockstep.failures")


class Failures:
    """Failures in a row of one piece of work."""

    def __init__(self, event: str, *, times: int = TIMES, seconds: float = SECONDS, **facts: str) -> None:
        """``event`` and ``facts`` make the log line; after ``times`` and ``seconds`` there is no hope."""
        self.count = 0
        self._event, self.facts = event, facts
        self._times, self._seconds = times, seconds
        self._since = 0.0
        self._logged_at = float("-inf")

    def note(self) -> None:
        """Count a failure; log the exception that is being handled, unless that was done a moment ago."""
        now = time.monotonic()
        if not self.count:
            self._since = now
        self.count += 1
        if now >= self._logged_at + _LOG_SECONDS:
            self._logged_at = now
            _log.critical(self._event, times=self.count, exc_info=True, **self.facts)

    def clear(self) -> None:
        """Begin again: the work succeeded."""
        self.count = 0

    @property
    def pause(self) -> float:
        """Seconds until the next try; 0 when the last one succeeded."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.count - 1, 10)) if self.count else 0.0

    @property
    def hopeless(self) -> bool:
        """Whether it failed too often and for too long to be tried again in this process."""
        return self.count >= self._times and time.monotonic() >= self._since + self._seconds

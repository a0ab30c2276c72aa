"""How many messages a worker process may hold at once.

While messages are short, more than one for each thread: then one round trip to Redis serves many. A slow actor
must not hold heads that an idle worker could run, so the look-ahead shrinks at the first long one, and grows slowly.
"""

from typing import Final

#: Seconds of work that a process may hold beyond what its threads run.
_AHEAD: Final = 0.02

#: Messages for each thread, at most.
_DEPTH: Final = 8

#: Messages for each process, at most: a script takes no longer lists of arguments.
_MOST: Final = 1000


class Capacity:
    """A moving average of how long messages take, turned into a number of messages to hold."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.average = _AHEAD  #: seconds

    def observe(self, seconds: float) -> None:
        """Take one finished message into account: quickly when it was long, slowly when it was short."""
        weight = 0.5 if seconds > self.average else 0.05
        self.average += (seconds - self.average) * weight

    @property
    def limit(self) -> int:
        """Messages to hold, running ones included."""
        depth = min(_DEPTH, max(1, int(_AHEAD / max(self.average, 1e-6))))
        return min(_MOST, self.threads * depth)

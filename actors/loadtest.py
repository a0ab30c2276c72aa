"""What ``lockstep loadtest`` sends: an actor that only takes its time. Imported where LOADTEST_ACTOR is true."""

import time
from typing import Any, Final

import dramatiq

from lockstep.errors import InvalidMessage

#: Seconds that one message may take.
MOST_SECONDS: Final = 60.0

#: An interrupt (a drain, a lost lease) is only noticed between two sleeps.
_SLICE: Final = 0.1


def check_work(number: Any = 0, seconds: Any = 0.0) -> None:
    """A message of a load test holds a thread no longer than it may.

    Raises:
      InvalidMessage: ``seconds`` is no number from 0 to 60.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
        raise InvalidMessage("/kwargs/seconds", f"expected a number from 0 to {MOST_SECONDS:g}")


@dramatiq.actor(actor_name="lockstep.loadtest", queue_name="messages", validate=check_work)
def loadtest(number: int = 0, seconds: float = 0.0) -> None:
    """Wait; ``number`` only says which message of its group it is."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE))

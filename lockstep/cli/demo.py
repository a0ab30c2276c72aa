"""A stream of sample messages, some of them failing, for ``lockstep up --demo``."""

import itertools
import threading
from types import TracebackType
from typing import Any, Final, Self

from lockstep.cli.common import complain
from lockstep.errors import RedisUnavailable
from lockstep.modules import import_actors

#: Seconds between two messages.
_INTERVAL: Final = 0.5
#: One message of so many fails for good, and is dead-lettered.
_FAILING: Final = 10
_CUSTOMERS: Final = 5


class Demo(threading.Thread):
    """Sends while it is entered; the settings of this process say where."""

    def __init__(self) -> None:
        super().__init__(name="demo", daemon=True)
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Send a message at each interval."""
        actors = import_actors()  # reads the settings of this process
        broker, messages = actors.broker, actors.messages

        for number in itertools.count(1):
            if self._stopped.wait(_INTERVAL):
                break
            # Too old when it joins its group: nothing else fails for good without a receiver.
            late: dict[str, Any] = {"delay": 100, "max_age": 1} if number % _FAILING == 0 else {}
            sample = {
                "instance_id": "demo",
                "customer_id": f"customer-{number % _CUSTOMERS}",
                "body": f"sample {number}",
            }
            try:
                messages.deliver.send_with_options(kwargs=sample, **late)
            except RedisUnavailable as error:
                complain(f"demo: {error}")
        broker.close()

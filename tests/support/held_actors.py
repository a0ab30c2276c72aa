"""The usual actors, and a worker that stops for a long time at one point, once, so that it can be killed there.

``HOLD`` names the point: ``claimed`` (before the actor starts) or ``ended`` (after it, before the settle).
"""

import os
import time
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from tests.history.events import Kind
from tests.history.recorder import Recorder
from tests.support import fault_actors, steps

__all__ = ["fault_actors"]


class Hold(Middleware):
    """Stops at its point, and says so in the history."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        self._hold("claimed", message)

    def after_process_message(self, broker: Any, message: Any, **_: Any) -> None:
        self._hold("ended", message)

    def _hold(self, point: str, message: Any) -> None:
        if os.environ.get("HOLD") != point:
            return
        with Recorder(steps.history_of(Path(os.environ[steps.DIRECTORY]))) as recorder:
            recorder.record(Kind.BIT, name=point, message=message.message_id)
        time.sleep(60)


dramatiq.get_broker().add_middleware(Hold())

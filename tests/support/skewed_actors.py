"""The usual actors in a process whose clock is wrong; it says so in the history, as evidence."""

import os
import time
from pathlib import Path

from tests.history.events import Kind
from tests.history.recorder import Recorder
from tests.support import fault_actors, steps

__all__ = ["fault_actors"]

if abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) > 100:
    with Recorder(steps.history_of(Path(os.environ[steps.DIRECTORY]))) as _recorder:
        _recorder.record(Kind.BIT, name="skew")

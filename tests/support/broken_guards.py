"""A module of actors that breaks one guard of the worker process that loads it, and leaves a thread that never ends."""

import os
import threading
import time
from typing import Any

import middleware.lifecycle
import middleware.rate_limits
from lockstep.holding import Interrupter


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("it is broken")


threading.Thread(target=time.sleep, args=(600,)).start()

match os.environ["BROKEN_GUARD"]:
    case "renewer":
        middleware.lifecycle.Renewer = _broken  # type: ignore[assignment,misc]
    case "process":
        middleware.lifecycle.MasterWatch = _broken  # type: ignore[assignment,misc]
    case "limits":
        middleware.rate_limits.declared_by = _broken
    case "interrupter":
        Interrupter.run_once = _broken  # type: ignore[method-assign]

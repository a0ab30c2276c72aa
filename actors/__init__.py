"""What messages do. Importing this package wires settings, broker, middleware and actor modules.

So ``dramatiq actors`` works as well as ``lockstep worker``.
"""

import importlib

import dramatiq

from lockstep import logs
from lockstep.errors import Shadowed
from lockstep.settings import Settings
from middleware import make_broker

settings = Settings.load()
logs.configure(settings)
broker = make_broker(settings)
dramatiq.set_broker(broker)

_heartbeat = ("actors.heartbeat",) if settings.schedule_heartbeat else ()
_loadtest = ("actors.loadtest",) if settings.loadtest_actor else ()
for _module in ("actors.messages", *_heartbeat, *_loadtest, *settings.actor_modules):
    importlib.import_module(_module)
    if dramatiq.get_broker() is not broker:  # actors declared from here on would run without order and leases
        raise Shadowed(
            f"{_module} put another broker in place of Lockstep's: remove its dramatiq.set_broker(…)"
        )

"""Worker module of Lockstep: its broker with the default settings and middleware."""

import os

from benchmarks.senders import settings
from benchmarks.worker import serve
from lockstep import logs
from middleware import make_broker

_settings = settings(os.environ["REDIS_URL"])
logs.configure(_settings)
broker = make_broker(_settings)
serve(broker)

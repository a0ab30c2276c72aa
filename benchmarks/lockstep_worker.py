"""Worker module of Lockstep: its broker with the default settings and middleware."""

import os

from benchmarks.senders import settings
from benchmarks.worker import POLICY, serve
from lockstep import logs
from middleware import make_broker

_policy = os.environ.get(POLICY, "")
_settings = settings(os.environ["REDIS_URL"], **dict(one.split(" ", 1) for one in _policy.split(";") if one))
logs.configure(_settings)
broker = make_broker(_settings)
serve(broker)

"""The same work on plain Dramatiq: the negative control of the fault tests. Run it with ``dramatiq``."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from tests.support import steps

broker = RedisBroker(url=os.environ["REDIS_URL"], heartbeat_timeout=1000, maintenance_chance=1_000_000)
broker.add_middleware(CurrentMessage())
broker.add_middleware(steps.Boots())
dramatiq.set_broker(broker)
# As many attempts and the same back-off as the tests give Lockstep.
step = steps.declare(broker, max_retries=4, min_backoff=steps.RETRY_MS, max_backoff=steps.RETRY_MS)

"""Worker module of plain Dramatiq: its RedisBroker with the default middleware, as its guide shows it."""

import os

from dramatiq.brokers.redis import RedisBroker

from benchmarks.worker import serve

broker = RedisBroker(url=os.environ["REDIS_URL"])
serve(broker)

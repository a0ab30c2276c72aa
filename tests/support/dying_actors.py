"""A worker that is killed after a settle was answered, before it enqueues what follows; run as a program."""

import os
import signal
import time
from typing import Any

import dramatiq
from dramatiq import Worker

from lockstep.settings import Settings
from middleware import make_broker


def main() -> None:
    """Run messages of ``work`` until the first that is followed by another one."""
    broker = make_broker(Settings.load(os.environ, env_file=""))
    dramatiq.set_broker(broker)

    @dramatiq.actor
    def succeeded(data: Any, result: Any) -> None: ...

    @dramatiq.actor(on_success="succeeded")
    def work(n: int) -> int:
        return n

    def die(shard: Any, entries: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    broker.deliver = die  # type: ignore[method-assign]
    Worker(broker, worker_threads=1, worker_timeout=100).start()
    time.sleep(60)


if __name__ == "__main__":
    main()

"""Breaks workers, connections and Redis, at random."""

import os
import signal
import time
from collections import Counter
from random import Random

import redis

from tests.history.events import FaultKind
from tests.support.fault_run import FaultRun
from tests.support.freezing import freeze
from tests.support.waiting import wait_for
from tests.support.worker import Worker

#: Seconds between two faults, at most.
_CALM = 8.0


class Breaker:
    """Breaks one thing after the other; a seed decides what, and when.

    A fault is over, with as many workers ready as before, when the next begins. What it led to may not be.
    """

    def __init__(self, run: FaultRun, workers: list[Worker], rng: Random) -> None:
        self.workers = workers
        self.counts: Counter[str] = Counter()
        self._run, self._rng = run, rng
        self._lease = float(run.environment["LEASE_SECONDS"])
        self._faults = [
            self.kill_worker,
            self.stop_worker,
            self.pause_worker,
            self.kill_redis,
            self.drop_connections,
        ]

    def go_on(self, seconds: float) -> None:
        """Break things for so long. Of ten faults in a row each kind is two, so that none is left out."""
        deadline = time.monotonic() + seconds
        deck = self._faults[:0]
        while True:
            deck = deck or self._rng.sample(self._faults * 2, 2 * len(self._faults))
            pause, fault = self._rng.uniform(0, _CALM), deck.pop()
            if time.monotonic() + pause > deadline:
                time.sleep(max(0.0, deadline - time.monotonic()))
                return
            time.sleep(pause)
            self.counts[fault.__name__] += 1
            print(f"{deadline - time.monotonic():6.1f} s left: {fault.__name__}", flush=True)
            fault()

    def kill_worker(self) -> None:
        """Kill a master and its child, and start others."""
        victim = self._take()
        self._run.kill(victim, *victim.pids)
        self._replace()

    def stop_worker(self) -> None:
        """Stop a worker as a deploy does, and start another."""
        victim = self._take()
        with self._run.fault(FaultKind.STOP, "stop", victim.child):
            victim.signal(signal.SIGTERM, victim.master)
            code = victim.wait_gone()
        assert code == 0, victim.text()
        self._replace()

    def pause_worker(self) -> None:
        """Let a child stand still until others have its groups."""
        victim = self._rng.choice(self.workers)
        with self._run.fault(FaultKind.PAUSE, "pause", victim.child):
            freeze(victim.child)
            time.sleep(self._lease * self._rng.uniform(1.2, 2.0))
            victim.signal(signal.SIGCONT, victim.child)

    def kill_redis(self) -> None:
        """Kill Redis, and start it again on what it had written."""
        assert self._run.redis.pid is not None
        port, lost = self._run.redis.port, {worker: self._said(worker, "lost") for worker in self.workers}
        with self._run.fault(FaultKind.OUTAGE, "outage"):
            os.kill(self._run.redis.pid, signal.SIGKILL)
            time.sleep(self._rng.uniform(0.5, 3.0))
            self._run.redis.stop()
            self._run.redis.start(self._run.directory / "redis", port)
            # Until all are back they may not have said that a message is done: the fault goes on.
            wait_for("workers are back", lambda: all(self._returned(*each) for each in lost.items()))
        self._run.bit("outage")

    def drop_connections(self) -> None:
        """Close every connection to Redis."""
        run = self._run
        with (
            redis.Redis.from_url(run.environment["REDIS_URL"]) as client,
            run.fault(FaultKind.NOISE, "dropped"),
        ):
            dropped = client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        if dropped:
            run.bit("dropped")

    def _take(self) -> Worker:
        return self.workers.pop(self._rng.randrange(len(self.workers)))

    def _replace(self) -> None:
        self.workers += self._run.start()

    def _returned(self, worker: Worker, lost: int) -> bool:
        return self._said(worker, "back") >= self._said(worker, "lost") > lost

    @staticmethod
    def _said(worker: Worker, what: str) -> int:
        return worker.text().count(f"redis.{what}")

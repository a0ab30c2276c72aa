"""Takes back what dead workers held, on a timer in every worker and web process.

The same timer goes on with the search for extreme groups (``lockstep.survey``).
"""

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from lockstep import logs
from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.holding import HeldMessages
from lockstep.keys import ShardKeys
from lockstep.records import Reaped
from lockstep.store import Store

#: Seconds until a shard with few groups is asked again whether it needs a search.
_NO_SEARCH_SECONDS: Final = 10.0

T = TypeVar("T")

log = logs.get_logger("lockstep.reaper")


class Reaper:
    """Reaps every shard of some queues.

    If the process dies between two shards, the next run, here or elsewhere, does the rest.
    """

    def __init__(
        self,
        store: Store,
        queues: Callable[[], Iterable[str]],
        *,
        claimer: str = "",
        held: HeldMessages | None = None,
        deliver: Callable[[ShardKeys, list[bytes]], None] | None = None,
    ) -> None:
        """``claimer``: who claims in this process; empty: nobody does.

        ``held``: what it holds, which learns here when it is to be cancelled.

        ``deliver``: enqueues what is in an outbox for too long, because the process that settled it died.
        """
        self._store = store
        self._queues = queues
        self._claimer = claimer
        self._booted = False
        self.ran = threading.Event()  #: the first run is over, whatever came of it
        self._held = held
        self._failing: set[str] = (
            set()
        )  # what failed when it was tried last: shards, by prefix, and other steps
        self._defect: Exception | None = None
        self._deliver = deliver
        self._searched: dict[str, float] = {}  # shard -> when it was last seen to need no search

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        return self._store.settings.reap_seconds

    def run_once(self) -> list[Reaped]:
        """Reap each shard once, as far as Redis answers: a shard that fails holds up no other, and comes last."""
        try:
            return self._run_once()
        finally:
            self.ran.set()

    def _run_once(self) -> list[Reaped]:
        if not self._booted:
            self._attempt("intake", self._boot)
        queues = self._attempt("queues", lambda: list(self._queues()))
        shards = [shard for queue in queues or () for shard in self._store.shards(queue)]
        shards.sort(key=lambda shard: shard.prefix in self._failing)
        results: list[Reaped] = []
        for shard in shards:
            self._attempt(shard.prefix, partial(self._reap, shard, results))
        if self._defect is not None:
            defect, self._defect = self._defect, None
            raise defect
        return results

    def _attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """Return what ``work`` returns; None: it failed, which is noted. What comes after it is done all the same."""
        try:
            answer = work()
        except RedisUnavailable:
            self._failing.add(what)  # the consumers and the health checks say so; the next run comes soon
        except ScriptFailed as error:
            if what not in self._failing:
                log.critical("script.failed", of=what, error=str(error))
            self._failing.add(what)
        except Exception as error:  # a defect: for the service to count
            self._failing.add(what)
            self._defect = error
        else:
            self._failing.discard(what)
            return answer
        return None

    def _reap(self, shard: ShardKeys, results: list[Reaped]) -> None:
        result = self._store.reap(shard, claimer=self._claimer)
        results.append(result)
        self._report(shard.queue, result)
        if self._held is not None:
            self._held.ask_to_cancel(result.cancelling)
        if result.owed and self._deliver is not None:
            self._deliver(shard, result.owed)
        self._search(shard)

    def _search(self, shard: ShardKeys) -> None:
        """One step; where there is no need, ask again only after a while: an idle worker asks Redis for little."""
        if time.monotonic() < self._searched.get(shard.meta, float("-inf")) + _NO_SEARCH_SECONDS:
            return
        if not self._store.survey.step(shard):
            self._searched[shard.meta] = time.monotonic()

    def _boot(self) -> None:
        """Let WORKER_ACCEPT_JOBS count, once Redis answers."""
        if self._store.intake.boot():
            accept = self._store.settings.worker_accept_jobs
            log.info(
                "intake.on" if accept else "intake.off", why=f"WORKER_ACCEPT_JOBS is {str(accept).lower()}"
            )
        self._booted = True

    def _report(self, queue: str, result: Reaped) -> None:
        for message_id in result.retried:
            log.warning(
                "lease.reaped", queue=queue, message_id=message_id, next="the stalled message will be retried"
            )
        for message_id in result.cancelled:
            log.info("message.cancelled", queue=queue, message_id=message_id)
        for message_id in result.dead:
            log.error(
                "message.dead", queue=queue, message_id=message_id, reason="worker_lost", error="worker_lost"
            )
        if result.extended:
            log.warning("lease.extended", queue=queue, leases=result.extended, why="nobody could renew them")

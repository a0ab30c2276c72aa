"""What a worker process does beside running actors: renew, reap, watch its master, and stop in order."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from dramatiq.middleware import Middleware

from lockstep import logs
from lockstep.ending import end_process
from lockstep.holding import Interrupter, Renewer
from lockstep.joining import join_all, join_together
from lockstep.machine import Automatic
from lockstep.processes import ProcessState, ProcessType
from lockstep.reaper import Reaper
from lockstep.reporting import Look, Reporter, identity
from lockstep.roles import Choice, Role
from lockstep.service import Service
from lockstep.settings import Settings
from lockstep.signals import hear_interrupts, ignore_stops
from lockstep.threadwatch import ThreadWatch

log = logs.get_logger("lockstep.worker")

#: Seconds between two looks whether actors that outlived their worker have ended.
_UNENDED_SECONDS: Final = 0.5

#: Seconds that an actor has to end when it is interrupted because the time of ``Worker.stop`` has passed.
_LATE_SECONDS: Final = 1.0

#: Exit code of a worker process whose actors did not end in time, as Dramatiq's of one that is killed.
EXIT_CUT_OFF: Final = 3


class Lifecycle(Middleware):
    """Starts and stops what a worker process needs."""

    guards = True  #: no worker starts when its boot hook fails

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: list[Service] = []
        self._reporter: Reporter | None = None
        self._renewer: Renewer | None = None
        self._interrupter: Interrupter | None = None
        self._master = os.getpid()  #: of a worker that no master started, itself
        self._asked = False
        hear_interrupts()  # modules of actors may start processes when they are imported

    def after_process_boot(self, broker: Any) -> None:
        """In each process that Dramatiq's master started: logs, signals, and an eye on the master.

        Tests of an application emit this signal in their own process, to have time limits. It stays theirs.
        """
        # Not the parent process, for a server of forks may stand between.
        started_by = multiprocessing.parent_process()
        if started_by is None:
            return
        logs.configure(self._settings)
        broker.owns_process = True
        self._master = started_by.pid or os.getppid()
        hear_interrupts()
        former = signal.getsignal(signal.SIGTERM)
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda number, frame: self._on_signal(broker, former, number, frame))
        Service("master-watch", MasterWatch(os.getppid()), broker.give_up).start()

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Before anything is claimed, and before Redis is asked for anything: renew, interrupt, reap, watch, report."""
        broker.start_claiming()
        worker.work_queue = broker.work_queue
        choice = self._choose(worker)
        margin = broker.lease_margin
        self._interrupter = Interrupter(broker.held, margin=margin, grace=self._settings.cancel_grace)
        self._renewer = Renewer(broker.store, broker.held, margin=margin)
        reaper = Reaper(
            broker.store,
            lambda: choice.among(broker.get_declared_queues()),
            claimer=broker.owner,
            held=broker.held,
            deliver=broker.deliver,
        )
        self._services = [
            # Nothing but defects can fail here, and nobody else ends an actor that must not go on.
            Service("interrupter", self._interrupter, broker.give_up, times=3, seconds=0.0),
            Service("renewer", self._renewer, broker.give_up),
            Service("reaper", reaper, broker.give_up),
        ]
        watch = ThreadWatch(broker, worker, tuple(self._services), broker.give_up)
        self._services.append(Service("thread-watch", watch, broker.give_up))
        for service in self._services:
            service.start()
        self._reporter = self._make_reporter(broker, worker, choice)
        self._reporter.start()
        self._services[2].wake()
        # Wake-up notifications are for consumers that are known. While Redis is silent, nobody waits for it here.
        reaper.ran.wait(self._settings.redis_timeout)
        self._tell(choice, broker.get_declared_queues())

    def abandon_boot(self, broker: Any, worker: Any) -> None:
        """The worker does not start: leave nothing of it behind."""
        broker.stop_claiming()
        if worker.consumers:  # its threads run already, and may have claimed
            worker.stop()
        else:
            self._end(broker, worker)

    def _choose(self, worker: Any) -> Choice:
        """Let the worker take what its role says, however it was started.

        Queues on Dramatiq's own command line (``--queues``) stand.
        """
        choice = Choice.of(self._settings)
        if worker.consumer_whitelist:
            choice = Choice(choice.role, frozenset(worker.consumer_whitelist))
        worker.consumer_whitelist = choice
        return choice

    def _tell(self, choice: Choice, declared: set[str]) -> None:
        queues = choice.among(declared)
        name = f"{'-'.join(queues) or choice.role}-worker-{os.getpid()}"
        log.info(
            "worker.started",
            worker=name,
            role=choice.role.value,
            queues=queues,
            text=f'Worker "{name}" started (Instance: {self._settings.instance_id})',
        )
        missing = sorted(set(choice.names) - declared)
        if missing or not queues:
            log.warning(
                "queue.undeclared",
                queues=missing,
                why=f"no actor here declares what {choice} is to take"
                + ("" if queues else ": the worker idles"),
            )

    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        """The threads run."""
        automatic = isinstance(self._settings.worker_concurrency, Automatic)
        found = {"concurrency": self._settings.masked()["WORKER_CONCURRENCY"]} if automatic else {}
        log.info("worker.ready", threads=worker.worker_threads, **found)

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """Claim nothing more; interrupt what is still running when the time is up."""
        self._drain(broker)
        log.info("worker.draining", running=len(broker.held.all()))
        join_together(worker.workers, on_late=lambda: self._end_late(worker))
        join_together(list(worker.consumers.values()))
        if self._interrupter is not None:
            self._interrupter.shutdown_at = time.monotonic() + self._settings.worker_shutdown_timeout

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """Everything is settled or put back. Nothing of this worker stays: another may start in this process."""
        self._end(broker, worker)
        log.info("worker.stopped", released=broker.released, text="Worker stopped gracefully")

    def _end(self, broker: Any, worker: Any) -> None:
        unended = [message for message in broker.held.all() if message.in_actor]
        if unended and broker.owns_process:
            self._cut_off(unended)
        guards = self._services[:2] if unended else []  # the interrupter and the renewer
        self._stop([service for service in self._services if service not in guards])
        if unended:
            log.error("worker.unended", running=len(unended))
            threading.Thread(
                target=self._guard_unended, args=(unended, guards, self._renewer), name="unended", daemon=True
            ).start()
        else:
            broker.leave()  # the reaper made us known as a claimer, and has ended
            if self._renewer is not None:
                self._renewer.close()
        if self._reporter is not None:
            self._reporter.leave(self._settings.redis_timeout)
        broker.forget(worker)
        if broker.owns_process:
            ignore_stops()

    def _cut_off(self, unended: list[Any]) -> None:
        """End the process while its leases are still renewed: their groups are freed only when nothing of it runs.

        A thread or an executor of an actor could keep an interpreter that ends in order alive for longer than a lease.
        """
        if self._reporter is not None:
            self._reporter.leave(self._settings.redis_timeout)
        ids = ", ".join(message.message_id for message in unended)
        end_process(f"these messages did not end within WORKER_SHUTDOWN_TIMEOUT: {ids}", EXIT_CUT_OFF)

    def _guard_unended(self, unended: list[Any], guards: list[Service], renewer: Renewer | None) -> None:
        """In a program that lives on: renew until the actors have ended. Then they run again after their lease."""
        while any(message.in_actor for message in unended):
            time.sleep(_UNENDED_SECONDS)
        self._stop(guards)
        if renewer is not None:
            renewer.close()

    def _stop(self, services: list[Service]) -> None:
        started = [
            service for service in services if service.ident is not None
        ]  # not all, if the boot failed
        for service in started:
            service.stop()
        join_all(started, self._settings.redis_timeout)

    def _on_signal(self, broker: Any, former: Any, signum: int, frame: Any) -> None:
        # Platforms signal the whole process group, and the master signals again: the second must not kill. It may
        # come while the first is handled, so this is noted before anything else.
        if self._asked:
            return
        self._asked = True
        # If there is no thread to be had, the drain begins with the shutdown, a second later.
        with suppress(RuntimeError):
            threading.Thread(target=self._drain, args=(broker,), name="stop-claiming").start()
        former(signum, frame)

    def _drain(self, broker: Any) -> None:
        broker.stop_claiming()
        if self._reporter is not None:
            self._reporter.wake()

    def _make_reporter(self, broker: Any, worker: Any, choice: Choice) -> Reporter:
        process = identity(
            ProcessType.WORKER,
            broker.owner,
            self._settings,
            role=choice.role.value,
            master_pid=self._master,
            capacity=worker.worker_threads,
            siblings=self._settings.worker_processes,
        )

        def look(reporter: Reporter) -> Look:
            found = look_at(broker, choice)
            if found.state is ProcessState.READY and not all(one.is_alive() for one in self._services):
                return replace(found, state=ProcessState.STARTING)  # it is about to give up
            return found

        return Reporter(broker.store.processes, process, look)

    def _end_late(self, worker: Any) -> None:
        """The caller of ``stop`` gave less time than the settings: nobody renews the leases after it."""
        if self._interrupter is not None:
            self._interrupter.interrupt_running()
        join_all(worker.workers, _LATE_SECONDS)


class MasterWatch:
    """Ends a worker process whose master is gone: without it nobody would restart or stop the process."""

    interval = 0.5  #: seconds between two looks

    def __init__(self, master: int) -> None:
        self._master = master
        self._orphaned = False

    def run_once(self) -> None:
        """Look once; ask this process to stop when its master has ended, however it did."""
        if not self._orphaned and os.getppid() != self._master:
            self._orphaned = True
            log.error("worker.orphaned", master=self._master)
            os.kill(os.getpid(), signal.SIGTERM)


def look_at(broker: Any, choice: Choice) -> Look:
    """What a worker process does: it is ready once every queue that it takes has a consumer that may claim.

    One whose role has no queue here idles, and is ready. One that finds none of the queues named to it never is: a name
    must be wrong; nor is one that takes all, and there are none.
    """
    queues = set(choice.among(broker.get_declared_queues()))
    may_idle = not choice.named and choice.role is not Role.ALL
    if broker.stopping:
        state = ProcessState.DRAINING
    elif (queues or may_idle) and broker.may_claim and queues <= broker.connected_queues:
        state = ProcessState.READY
    else:
        state = ProcessState.STARTING
    return Look(state, broker.running, broker.ended, tuple(sorted(queues)))

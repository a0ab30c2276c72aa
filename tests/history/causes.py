"""Which faults excuse what: overlaps, stale starts and extra runs."""

from tests.history.events import Ending, FaultKind, Kind
from tests.history.history import SECOND, Bounds, Fault, History, Run


def _long_enough(fault: Fault, bounds: Bounds) -> bool:
    return fault.until - fault.since >= bounds.holdup * bounds.lease * SECOND


def stood_still(history: History, bounds: Bounds, run: Run, other: Run) -> bool:
    """Whether ``run`` could not know that ``other`` took over: its process was paused past its lease.

    Being cut off from Redis is no excuse: a worker that runs can tell that its lease is over.
    """
    return any(
        fault.kind is FaultKind.PAUSE
        and run.pid in fault.pids
        and _long_enough(fault, bounds)
        and fault.since <= other.started
        and fault.touches(run.started, run.ended, bounds.resume)
        for fault in history.faults
    )


def zombies(history: History, bounds: Bounds, runs: list[Run]) -> set[str]:
    """Runs of a group that began under a fence that was stale already, and could not know it."""
    found: set[str] = set()
    newest: Run | None = None
    for run in runs:
        if newest is None or newest.rank < run.rank:
            newest = run
        elif (run.fence or 0) < (newest.fence or 0) and stood_still(history, bounds, run, newest):
            found.add(run.id)
    return found


def eras(history: History) -> list[int]:
    """When each life of Redis began that had forgotten the end of the former: order is kept within each."""
    return [fault.until for fault in history.faults if fault.kind is FaultKind.TAIL]


def explained(history: History, bounds: Bounds, run: Run, again: Run) -> bool:
    """Whether there is a recorded cause why ``run`` was not the last of its message."""
    if run.ending in {Ending.FAILED, Ending.CRASHED}:
        return True
    return any(_excuses(fault, bounds, run, again) for fault in history.faults)


def _excuses(fault: Fault, bounds: Bounds, run: Run, again: Run) -> bool:
    if fault.since > again.started:
        return False
    settled = run.ended + bounds.settle * SECOND
    met = fault.touches(run.started, settled, bounds.resume)
    hit, broken_off = run.pid in fault.pids, run.ending in {Ending.INTERRUPTED, Ending.CUT}
    match fault.kind:
        case FaultKind.KILL:
            excuse = hit and run.started <= fault.since <= settled
        case FaultKind.PAUSE | FaultKind.CUT:
            excuse = hit and met and _long_enough(fault, bounds)
        case FaultKind.STOP:
            excuse = hit and met and broken_off  # it lasts from the signal until the process is gone
        case FaultKind.CRASH:
            excuse = (
                met and broken_off
            )  # a crash takes the other threads of its process, and stops its siblings
        case FaultKind.OUTAGE | FaultKind.TAIL:
            excuse = met
        case FaultKind.NOISE | FaultKind.FAILURE:
            excuse = False
    return excuse


def bites(history: History) -> dict[str, int]:
    """How often each fault, by name, met something that it could break, or was noted to bite."""
    counts = dict.fromkeys((fault.name for fault in history.faults), 0)
    for event in history.of(Kind.BIT):
        counts[event.name] = counts.get(event.name, 0) + 1
    for fault in history.faults:
        counts[fault.name] += sum(1 for run in history.runs if _bitten(fault, run))
    return counts


def _bitten(fault: Fault, run: Run) -> bool:
    match fault.kind:
        case FaultKind.KILL:
            return run.pid in fault.pids and run.ending is Ending.CUT and run.started <= fault.since
        case FaultKind.PAUSE | FaultKind.CUT | FaultKind.STOP:
            return run.pid in fault.pids and run.started <= fault.since < run.ended
        case FaultKind.FAILURE:
            return run.ending is Ending.FAILED
        case FaultKind.CRASH:
            return run.ending is Ending.CRASHED
        case FaultKind.OUTAGE | FaultKind.TAIL | FaultKind.NOISE:
            return False  # only whoever injects them can tell

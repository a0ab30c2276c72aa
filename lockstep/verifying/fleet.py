"""Checks of the processes that run, and of what waits for somebody."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.states import MessageState
from lockstep.verifying.findings import Deployment, Finding, failed, fine, warning

#: Names that one line lists.
_NAMED: Final = 5

#: Processes of each type that one may die of without a gap.
_LEAST: Final = 2


def web(deployment: Deployment) -> Finding:
    """Somebody answers HTTP."""
    return _alive(deployment, ProcessType.WEB)


def workers(deployment: Deployment) -> Finding:
    """Somebody claims."""
    return _alive(deployment, ProcessType.WORKER)


def schedulers(deployment: Deployment) -> Finding:
    """Somebody fires what is due."""
    return _alive(deployment, ProcessType.SCHEDULER)


def _alive(deployment: Deployment, kind: ProcessType) -> Finding:
    found = [one for one in deployment.processes if one.type is kind]
    ready = [one for one in found if one.state is ProcessState.READY]
    masters = _masters(ready)
    if not ready:
        others = ", ".join(f"{number} {state}" for state, number in Counter(r.state for r in found).items())
        told = f"no {kind} process is ready" + (f" ({others})" if others else "")
        if not _wanted_here(deployment)[kind] and not deployment.production:
            return warning(f"{told}; this machine runs none", "see that another does")
        return failed(
            told,
            f"`lockstep reload {kind}` under supervisord, else start `lockstep {kind}`; its log says why it ended",
        )
    machines = len({one.host for one in ready})
    told = f"{len(masters)} ready on {machines} machine{'s' if machines > 1 else ''}"
    if deployment.production and len(masters) < _LEAST:
        return failed(told, f"run at least {_LEAST}, so that one may stop while the other goes on")
    return fine(told)


def _wanted_here(deployment: Deployment) -> dict[ProcessType, int]:
    settings = deployment.settings
    return {
        ProcessType.WEB: settings.web_processes,
        ProcessType.WORKER: settings.worker_masters,
        ProcessType.SCHEDULER: settings.scheduler_processes,
    }


def _masters(records: Iterable[ProcessRecord]) -> set[tuple[str, int]]:
    """What was started by supervisord or the platform: a worker may be several processes of one master."""
    return {(one.host, one.master_pid) for one in records}


def versions(deployment: Deployment) -> Finding:
    """All processes run one release."""
    found = Counter(one.version for one in deployment.processes)
    if len(found) > 1:
        told = ", ".join(f"{number} of {version}" for version, number in sorted(found.items()))
        return warning(told, "finish the deploy, or reload what runs the older one: `lockstep reload`")
    return fine(f"all of {next(iter(found))}" if found else "no process is known")


def instances(deployment: Deployment) -> Finding:
    """Each process that the platform started has a name of its own in logs and records."""
    names: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for one in deployment.processes:
        names[one.type, one.instance].add((one.host, one.master_pid))
    double = sorted({instance for (_, instance), masters in names.items() if len(masters) > 1})
    if double:
        told = f"INSTANCE_ID: {_some(double)} stands for several processes of one type"
        return deployment.must(told, "give each an INSTANCE_ID of its own")
    return fine("each process has its own")


def intake(deployment: Deployment) -> Finding:
    """New messages are accepted."""
    status = deployment.store.intake.status()
    if status.accept:
        return fine("on")
    return warning(f"off: {status.why or 'nobody said why'}", "`lockstep accept on` once the reason is gone")


def paused(deployment: Deployment) -> Finding:
    """No queue stands still because an operator stopped it."""
    queues = deployment.queues
    found = [name for name in queues if deployment.store.counts(name).paused]
    if found:
        return warning(f"{_some(found)} paused", "`lockstep resume QUEUE` once the reason is gone")
    return fine(f"none of {len(queues)} queues is paused")


def blocked(deployment: Deployment) -> Finding:
    """No group waits for an operator."""
    found = [
        f"{name}: {record.group or record.head} ({record.why})"
        for name in deployment.queues
        for record in deployment.store.groups.stuck(name, _NAMED + 1)
    ]
    if found:
        return warning(
            _some(found), "`lockstep groups QUEUE --state blocked`, then redrive, skip, discard or resume"
        )
    return fine("no group waits for an operator")


def dead(deployment: Deployment) -> Finding:
    """No message waits as a dead letter."""
    numbers = {name: deployment.store.counts(name).messages[MessageState.DEAD] for name in deployment.queues}
    found = [f"{number} in {name}" for name, number in numbers.items() if number]
    if found:
        return warning(_some(found), "`lockstep dead summary` shows what they died of")
    return fine("none")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

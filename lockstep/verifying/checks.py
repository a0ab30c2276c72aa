"""The table of all checks, in the order in which they are told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockstep.verifying import fleet, local, production, server
from lockstep.verifying.findings import Deployment, Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``lockstep verify``."""

    name: str
    run: Callable[[Deployment], Finding]
    redis: bool = True  #: it asks Redis: skipped when that is away
    processes: bool = False  #: it looks at processes that run: left out with ``--before``
    production: bool = False  #: only with ``--production``


#: Before these stand ``settings`` and ``redis``, without which there is nothing to look at. What only counts for
#: some deployments (mail, a database) joins with its settings, and is left out where they are not set.
CHECKS: Final = (
    Check(name="redis version", run=server.version),
    Check(name="redis role", run=server.role),
    Check(name="persistence", run=server.persistence),
    Check(name="eviction", run=server.eviction),
    Check(name="memory", run=server.memory),
    Check(name="latency", run=server.latency),
    Check(name="clock", run=server.clock),
    Check(name="scripts", run=server.scripts),
    Check(name="schema", run=server.schema),
    Check(name="data directory", run=local.data_dir, redis=False),
    Check(name="actors", run=local.actors, redis=False),
    Check(name="schedules", run=local.schedules),
    Check(name="exposure", run=local.exposure, redis=False),
    Check(name="web", run=fleet.web, processes=True),
    Check(name="workers", run=fleet.workers, processes=True),
    Check(name="schedulers", run=fleet.schedulers, processes=True),
    Check(name="versions", run=fleet.versions, processes=True),
    Check(name="instances", run=fleet.instances, processes=True),
    Check(name="intake", run=fleet.intake),
    Check(name="queues", run=fleet.paused),
    Check(name="groups", run=fleet.blocked),
    Check(name="dead letters", run=fleet.dead),
    Check(name="environment", run=production.app_env, redis=False, production=True),
    Check(name="api keys", run=production.api_keys, redis=False, production=True),
    Check(name="metrics token", run=production.metrics_token, redis=False, production=True),
    Check(name="log format", run=production.log_format, redis=False, production=True),
    Check(name="secrets", run=production.secrets, redis=False, production=True),
    Check(name="notices", run=production.notices, redis=False, production=True),
    Check(name="redis access", run=production.redis_access, redis=False, production=True),
    Check(name="load test", run=production.loadtest, redis=False, production=True),
)

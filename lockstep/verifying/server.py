"""Checks of the Redis server."""

from typing import Final

from lockstep.errors import MemoryLow, RedisUnavailable, SchemaTooNew, ScriptFailed
from lockstep.schema import SCHEMA
from lockstep.selftest import SelfTestFailed, self_test
from lockstep.verifying.findings import Deployment, Finding, failed, fine, warning

#: First and last series of each product that the tests of this release ran on.
_TRIED: Final = {"redis": ((6, 2), (8,)), "valkey": ((7, 2), (9,))}

#: Seconds of an answer from which on a worker is held up by Redis.
_SLOW: Final = 0.005
_TOO_SLOW: Final = 0.1

#: Per cent of its memory that Redis may use before somebody should look.
_FULL_PERCENT: Final = 75

#: Seconds by which the clocks of this machine and of Redis may differ.
_CLOCK: Final = 2.0


def version(deployment: Deployment) -> Finding:
    """A server whose scripts and commands are those that were tried."""
    server = deployment.server
    oldest, newest = _TRIED[server.name]
    if server.version < oldest:
        wanted = ".".join(map(str, oldest))
        return failed(server.title, f"upgrade to {server.name} {wanted} or later")
    if server.version[:1] > newest:
        return warning(
            server.title, "this release was not tried with a server so new; try it before going live"
        )
    return fine(server.title)


def persistence(deployment: Deployment) -> Finding:
    """What is accepted survives a restart of the server."""
    server, production = deployment.server, deployment.production
    if not server.append_only:
        snapshots = deployment.store.server.config("save")
        told = "only snapshots: a restart loses what came after the last" if snapshots else "nothing is kept"
        return deployment.must(
            told, "CONFIG SET appendonly yes; CONFIG SET appendfsync everysec; CONFIG REWRITE"
        )
    if not server.last_write_ok:
        return failed("the last write to the append-only file failed", "look at the disk of the server")
    fsync = deployment.store.server.config("appendfsync")
    if fsync == "no":
        return deployment.must(
            "append-only file, synced when the system likes",
            "CONFIG SET appendfsync everysec; CONFIG REWRITE",
        )
    if fsync is None and production:
        return warning("append-only file; the server does not say how often it syncs", "ask whoever runs it")
    return fine(f"append-only file, synced {fsync or 'as the server sees fit'}")


def eviction(deployment: Deployment) -> Finding:
    """A full server refuses writes, and drops no message."""
    policy, limit = deployment.server.policy, deployment.server.maxmemory
    if policy == "noeviction":
        return fine(policy)
    if not policy:
        return warning("the server does not say its eviction policy", "see that it is noeviction")
    advice = "CONFIG SET maxmemory-policy noeviction; CONFIG REWRITE"
    if policy.startswith("volatile-"):
        # Sessions, idempotency records and the like expire: a full server would forget them early.
        return deployment.must(f"{policy}: a full server forgets what makes a repeat safe", advice)
    told = f"{policy}: a full server drops messages"
    return failed(told, advice) if limit else deployment.must(f"{told} (it has no limit now)", advice)


def memory(deployment: Deployment) -> Finding:
    """The server has a limit, below which messages are refused before anything breaks."""
    used, limit = deployment.server.used_memory, deployment.server.maxmemory
    if not limit:
        advice = "CONFIG SET maxmemory to three quarters of the machine's memory; CONFIG REWRITE"
        return deployment.must(f"uses {_mebibytes(used)}, without a limit (maxmemory)", advice)
    told = f"uses {_mebibytes(used)} of {_mebibytes(limit)}"
    most = deployment.settings.max_memory_percent
    if used * 100 >= limit * most:
        return failed(
            told, f"nothing is accepted from {most} per cent on: give it more, or let workers catch up"
        )
    if used * 100 >= limit * min(_FULL_PERCENT, most):
        return warning(told, f"nothing is accepted from {most} per cent on")
    return fine(told)


def latency(deployment: Deployment) -> Finding:
    """An answer takes little time: each message needs at least one."""
    seconds = deployment.store.server.latency()
    told = f"an answer takes {seconds * 1000:.1f} ms"
    if seconds >= _TOO_SLOW:
        return failed(told, "run Redis nearer to the workers, or look at what keeps it busy (SLOWLOG GET)")
    if seconds >= _SLOW:
        return warning(told, "run Redis nearer to the workers, or look at what keeps it busy (SLOWLOG GET)")
    return fine(told)


def scripts(deployment: Deployment) -> Finding:
    """The server takes every script of this release, and a message goes its whole way."""
    try:
        number = deployment.store.server.load_scripts()
        seconds = self_test(deployment.settings)
    except (RedisUnavailable, ScriptFailed, SelfTestFailed) as error:
        return failed(
            str(error), "let this user run EVAL, EVALSHA and SCRIPT LOAD, and use a server that was tried"
        )
    except MemoryLow as error:
        return failed(str(error), "see `memory`")
    return fine(f"{number} load; a message went there and back in {seconds * 1000:.0f} ms")


def schema(deployment: Deployment) -> Finding:
    """This release may run on the data."""
    record = deployment.store.schema.read()
    if record is None:
        return warning("none is stored", "run `lockstep setup`")
    told = f"{record.number} is stored, this release has {SCHEMA}, {record.oldest} or later may run"
    if record.oldest > SCHEMA:
        return failed(told, str(SchemaTooNew(SCHEMA, record.oldest)))
    if record.number < SCHEMA:
        return warning(told, "run `lockstep setup` of this release")
    return fine(told)


def clock(deployment: Deployment) -> Finding:
    """This machine and the server agree about the time: nothing depends on it but what people compare."""
    ahead = deployment.store.server.clock_ahead()
    if abs(ahead) < _CLOCK:
        return fine(f"{abs(ahead):.1f} s apart")
    told = f"Redis is {abs(ahead):.1f} s {'before' if ahead > 0 else 'behind'} this machine"
    return warning(told, "let both keep their clocks by NTP: times in logs and records will not fit together")


def role(deployment: Deployment) -> Finding:
    """The server takes writes."""
    if deployment.server.role != "master":
        return failed("this server is a replica", "let REDIS_URL name the primary")
    return fine("takes writes")


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:.0f} MiB"

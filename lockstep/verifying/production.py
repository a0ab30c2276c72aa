"""Checks that only count before going live: ``--production``."""

import ipaddress
import stat
from pathlib import Path
from typing import Final

from lockstep.notices import is_understood
from lockstep.verifying.findings import Deployment, Finding, failed, fine, warning

_LOCAL: Final = frozenset({"localhost", "localhost.localdomain"})


def app_env(deployment: Deployment) -> Finding:
    """APP_ENV says that this is production."""
    given = deployment.settings.app_env
    return fine(given) if given == "production" else failed(f"APP_ENV: {given}", "APP_ENV=production")


def api_keys(deployment: Deployment) -> Finding:
    """Nobody sends or operates without a key."""
    keys = deployment.settings.api_keys
    return (
        fine(f"{len(keys)} keys") if keys else failed("API_KEYS: none", "API_KEYS=name:scope+scope:secret,…")
    )


def metrics_token(deployment: Deployment) -> Finding:
    """Nobody reads the metrics without the token."""
    if deployment.settings.metrics_token:
        return fine("set")
    return failed("METRICS_TOKEN: none, /metrics is open", "METRICS_TOKEN=…, and the same in your scrape")


def log_format(deployment: Deployment) -> Finding:
    """Logs can be read by programs."""
    given = deployment.settings.log_format
    return fine(given) if given == "json" else failed(f"LOG_FORMAT: {given}", "LOG_FORMAT=json")


def secrets(deployment: Deployment) -> Finding:
    """Whoever else is on this machine cannot read `.env`, where keys and passwords are."""
    try:
        mode = Path(".env").stat().st_mode
    except FileNotFoundError:
        return fine("no .env here: settings come from the environment")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return failed(
            f".env: every user of this machine may read or change it ({mode & 0o777:o})", "chmod 640 .env"
        )
    return fine(f".env is kept from others ({mode & 0o777:o})")


def notices(deployment: Deployment) -> Finding:
    """Somebody hears of processes that died."""
    dsn = deployment.settings.notification_dsn
    if dsn and not is_understood(dsn):
        return failed("NOTIFICATION_DSN: not every URL is understood", "URLs as Apprise documents them")
    if dsn:
        return fine("NOTIFICATION_DSN is set")
    return failed(
        "NOTIFICATION_DSN: none, so processes die unheard", "NOTIFICATION_DSN=… of a mailbox or chat"
    )


def redis_access(deployment: Deployment) -> Finding:
    """A Redis on another machine asks for a password, and is spoken to in secret."""
    address = deployment.settings.redis_address
    host = address.host if address else ""
    if address is None or is_local(host):
        return fine(f"{host} is this machine")
    lacks = [] if address.tls else ["TLS (rediss://)"]
    lacks += [] if address.password else ["a password"]
    if lacks:
        return failed(
            f"REDIS_URL: {host} without {' and '.join(lacks)}", "REDIS_URL=rediss://:password@host:port"
        )
    if not address.verified:
        return failed(
            "REDIS_TLS_VERIFY or ssl_cert_reqs in REDIS_URL: the certificate is not checked, so anybody may answer",
            "REDIS_CA_FILE=… of its certificate",
        )
    return fine(f"{host} over TLS, with a password")


def loadtest(deployment: Deployment) -> Finding:
    """Load tests are possible only while somebody means to run one."""
    if not deployment.settings.loadtest_actor:
        return fine("LOADTEST_ACTOR is off")
    return warning(
        "LOADTEST_ACTOR: whoever may send can hold threads with lockstep.loadtest",
        "LOADTEST_ACTOR=false after the load test",
    )


def is_local(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOCAL

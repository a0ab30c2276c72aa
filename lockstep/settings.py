"""Every setting of a deployment: one frozen object, read and checked once when a process starts.

A setting comes from the environment, else from ``.env`` in the working directory, else from its default here;
``lockstep.sources`` has the order in full. All mistakes are reported at once, each with the name of its setting.
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final

from lockstep import hosts, machine, parsing, rates
from lockstep.api_keys import ApiKey, sendable
from lockstep.api_keys import api_keys as parse_api_keys
from lockstep.certificates import certificates_file
from lockstep.errors import InvalidSettings
from lockstep.http_address import http_url
from lockstep.redis_address import RedisAddress
from lockstep.roles import Role
from lockstep.sources import Sources

Parse = Callable[[str], Any]


def _setting(default: Any, parse: Parse, meaning: str, *, secret: bool = False) -> Any:
    metadata = {"parse": parse, "meaning": meaning, "secret": secret}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a deployment can change; each field is the environment name in lower case."""

    redis_url: str | None = _setting(
        None, parsing.redis_url, "redis:// or rediss:// address of the server; unset: embedded", secret=True
    )
    redis_host: str | None = _setting(None, hosts.host, "host of the server, when REDIS_URL is unset")
    redis_port: int = _setting(6379, parsing.integer(1, 65535), "port of the server, with REDIS_HOST")
    redis_tls_verify: bool = _setting(True, parsing.boolean, "check the server's certificate (rediss://)")
    redis_ca_file: str | None = _setting(None, certificates_file, "file of trusted certificates")
    redis_timeout: float = _setting(
        2.0, parsing.seconds(0.05, 60), "seconds until a silent Redis counts as away"
    )
    redis_synced_writes: bool = _setting(
        False,
        parsing.boolean,
        "every write is on disk before its answer: no hold-off after a restart of Redis",
    )
    queue_namespace: str = _setting("lockstep", parsing.name, "prefix of every key")
    queue_shards: int = _setting(
        1, parsing.integer(1, 64), "shards of each queue; never change it while messages wait"
    )
    data_dir: str = _setting("data", str, "directory of the embedded Redis")

    port: int = _setting(7777, parsing.port, "port of the web process")
    host: str | None = _setting(
        None, hosts.host, "address of the web process; 127.0.0.1 without API_KEYS, else 0.0.0.0"
    )
    web_drain_seconds: float = _setting(
        2.0,
        parsing.seconds(0, 300),
        "seconds for which a web process that was told to stop serves on, not ready",
    )
    api_keys: dict[str, ApiKey] = _setting(
        {}, parse_api_keys, "name:scope+scope:secret, comma-separated; none: loopback only", secret=True
    )
    metrics_token: str | None = _setting(
        None, sendable, "bearer token that /metrics asks for; none: open", secret=True
    )
    idempotency_ttl: float = _setting(
        86400.0,
        parsing.seconds(1, 366 * 86400),
        "seconds for which a repeat is known by its idempotency key or its client-made id",
    )
    max_queue_length: int = _setting(
        0,
        parsing.integer(0, 1_000_000_000),
        "unfinished messages that a queue may have, shared out among its shards; 0: any number",
    )
    max_memory_percent: int = _setting(
        90,
        parsing.integer(1, 100),
        "per cent of Redis's own memory limit (maxmemory) from which on nothing is accepted",
    )
    max_payload_bytes: int = _setting(
        262144, parsing.integer(256, 64 << 20), "bytes of one encoded message, at most"
    )

    actor_modules: tuple[str, ...] = _setting(
        (), parsing.names, "modules imported beside actors, comma-separated"
    )
    worker_processes: int = _setting(1, parsing.integer(1, 256), "processes of one worker")
    worker_concurrency: int = _setting(
        5, machine.concurrency, "threads of each worker process; auto: from CPUs and memory"
    )
    worker_role: str = _setting(
        Role.ALL, parsing.one_of(*Role), f"which queues a worker takes: {', '.join(Role)}"
    )
    worker_queues: tuple[str, ...] = _setting(
        (), parsing.names, "queues that a worker takes, whatever its role; none named: the role's"
    )
    start_email_worker: bool = _setting(
        True, parsing.boolean, "false: a worker of the role all leaves the queue email to others"
    )
    worker_accept_jobs: bool = _setting(
        True, parsing.boolean, "whether the intake is on at boot, until an operator switches it at run time"
    )
    worker_shutdown_timeout: float = _setting(
        30.0, parsing.seconds(0.1, 86400), "seconds a worker may drain after SIGTERM (20 when DYNO is set)"
    )
    dramatiq_metrics: bool = _setting(
        False, parsing.boolean, "also serve Dramatiq's own metrics, from each machine that has workers"
    )
    instance_id: str = _setting(
        "", parsing.label, "name of this process in logs and records; else DYNO or the host name"
    )

    web_processes: int = _setting(
        2, parsing.integer(0, 64), "web processes under supervisord, which share its socket"
    )
    worker_masters: int = _setting(
        2, parsing.integer(0, 64), "workers under supervisord, each with WORKER_PROCESSES processes"
    )
    scheduler_processes: int = _setting(2, parsing.integer(0, 64), "schedulers under supervisord")
    ready_timeout: float = _setting(
        10.0, parsing.seconds(0.5, 3600), "seconds a process may take until it is ready, in a reload"
    )
    notification_dsn: str | None = _setting(
        None, str, "whom to tell of processes that died: Apprise URLs; none: only logged", secret=True
    )

    lease_seconds: float = _setting(30.0, parsing.seconds(0.5, 3600), "seconds a claim lasts without renewal")
    reap_seconds: float = _setting(1.0, parsing.seconds(0.05, 60), "seconds between looks for expired leases")
    max_crashes: int = _setting(
        3, parsing.integer(1, 100), "deliveries lost with their worker until a message is dead as worker_lost"
    )
    max_attempts: int = _setting(
        3, parsing.integer(1, 1000), "attempts of a message, when its actor sets none"
    )
    backoff: parsing.Backoff = _setting(
        parsing.Backoff.parse("exponential:2s"),
        parsing.Backoff.parse,
        "exponential:2s, fixed:10s or list:0s,60s,…",
    )
    rate_limits: dict[str, tuple[rates.Rate, ...]] = _setting(
        {}, rates.rate_limits, "starts in a time: email=100/60s,deliver=10/1s per group"
    )
    concurrency_limits: dict[str, int] = _setting(
        {}, rates.concurrency_limits, "running at once over all workers: email=5,reports=1"
    )
    cancel_grace: float = _setting(
        5.0, parsing.seconds(0, 86400), "seconds a running actor has to end once its message is cancelled"
    )
    unknown_actor_seconds: float = _setting(
        600.0, parsing.seconds(0, 86400), "seconds a message of an unknown actor is parked until it is dead"
    )
    retention_done_age: float = _setting(
        86400.0, parsing.seconds(0, 366 * 86400), "seconds a finished record is kept"
    )
    retention_done_count: int = _setting(
        1000, parsing.integer(0, 10_000_000), "finished records kept in each shard of a queue"
    )
    retention_dead_age: float = _setting(
        0.0, parsing.seconds(0, 10 * 366 * 86400), "seconds a dead letter is kept; 0: until an operator acts"
    )
    search_index: bool = _setting(
        False, parsing.boolean, "index the words of messages that are sent, so that they can be searched"
    )

    schedule_heartbeat: bool = _setting(
        False,
        parsing.boolean,
        "send lockstep.heartbeat each minute, which shows that scheduler and workers work",
    )

    loadtest_actor: bool = _setting(
        False, parsing.boolean, "have the actor lockstep.loadtest, which lockstep loadtest sends"
    )

    delivery_url: str | None = _setting(None, http_url, "where messages.deliver posts", secret=True)
    delivery_routes_file: str | None = _setting(
        None, parsing.routes_file, "JSON object: instance id to URL, for messages.deliver"
    )
    delivery_secret: str | None = _setting(
        None, parsing.signing_secret, "signs deliveries (Standard Webhooks)", secret=True
    )
    delivery_timeout: float = _setting(
        10.0, parsing.seconds(0.1, 600), "seconds a receiver may take to answer"
    )

    deploy_notify_dsn: str | None = _setting(
        None, str, "whom to tell of deploys and rollbacks: Apprise URLs; none: nobody", secret=True
    )

    log_format: str = _setting("console", parsing.one_of("console", "json"), "console or json")
    log_level: str = _setting(
        "info", parsing.one_of("debug", "info", "warning", "error", "critical"), "debug, info, warning, error"
    )
    app_env: str = _setting("development", str, "development or production")

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, *, env_file: str = ".env") -> "Settings":
        """Read and check all settings.

        Raises:
          InvalidSettings: with every wrong setting and what is wrong with it.
        """
        sources = Sources.read(os.environ if environment is None else environment, env_file)
        problems: dict[str, str] = {}
        values: dict[str, Any] = {}
        for setting in fields(cls):
            name = setting.name.upper()
            try:
                text = sources.text(name)
                if text is not None:
                    values[setting.name] = _checked(setting.metadata["parse"], text)
            except (ValueError, OSError) as error:
                problems[name] = str(error)
        if "redis_url" in values and (sources.plain("REDIS_PORT") or "").startswith("tcp://"):
            problems.pop("REDIS_PORT", None)  # Kubernetes sets it in every pod beside a service called redis
        problems |= _merge_redis(values)
        if "worker_shutdown_timeout" not in values and sources.plain("DYNO"):
            values["worker_shutdown_timeout"] = 20.0
        if "instance_id" not in values and "INSTANCE_ID" not in problems:
            try:
                values["instance_id"] = parsing.label(sources.plain("DYNO") or socket.gethostname())
            except ValueError as error:
                problems["INSTANCE_ID"] = f"not set, and DYNO or the host name cannot stand in: {error}"
        if problems:
            raise InvalidSettings(problems)
        if isinstance(values.get("worker_concurrency"), machine.Automatic):
            processes = values.get("worker_processes", cls.worker_processes)
            values["worker_concurrency"] = machine.Machine.read().threads(processes)
        return cls(**values)

    @cached_property
    def redis_address(self) -> RedisAddress | None:
        """The server, from REDIS_URL or REDIS_HOST, and how its certificate is checked; None: none is configured."""
        if self.redis_url:
            address = RedisAddress.parse(self.redis_url)
        elif self.redis_host:
            address = RedisAddress(host=self.redis_host, port=self.redis_port)
        else:
            return None
        verified = self.redis_tls_verify if address.verified is None else address.verified
        return replace(address, verified=verified, ca_file=address.ca_file or self.redis_ca_file)

    @property
    def bind_host(self) -> str:
        """The address that the web process listens on."""
        return self.host or ("0.0.0.0" if self.api_keys else "127.0.0.1")  # noqa: S104  (only with keys)

    @property
    def web_url(self) -> str:
        """Where this machine reaches the web process."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind_host, self.bind_host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def lease_ms(self) -> int:
        """LEASE_SECONDS in milliseconds."""
        return int(self.lease_seconds * 1000)

    def masked(self) -> dict[str, str]:
        """Every setting as text for people, secrets hidden."""
        return {
            setting.name.upper(): "********"
            if setting.metadata["secret"] and getattr(self, setting.name)
            else _shown(getattr(self, setting.name))
            for setting in fields(self)
        }

    def __repr__(self) -> str:
        return f"Settings({self.masked()!r})"


def _shown(value: Any) -> str:
    return f"auto ({value})" if isinstance(value, machine.Automatic) else str(value)


def _checked(parse: Parse, text: str) -> Any:
    """Parse the text of a setting, and refuse what came through a wrong encoding or a wrong quoting.

    Raises:
      ValueError: it is invalid.
    """
    try:
        text.encode()
    except UnicodeEncodeError:  # its own text has the bytes
        raise ValueError("is not UTF-8") from None
    value = parse(text)
    if not text.strip():
        raise ValueError("is blank")
    if text.startswith("\ufeff"):
        raise ValueError("begins with a byte order mark")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise ValueError("is in quotes, which are part of the value here: leave them out")
    return value


def _merge_redis(values: dict[str, Any]) -> dict[str, str]:
    """Set what REDIS_URL says of certificates in the settings for it; return what contradicts it."""
    url = values.get("redis_url")
    address = RedisAddress.parse(url) if url else None
    if address is None or not address.tls:  # who names a certificate means that nobody else can listen
        lost = "redis_ca_file" in values
        return {"REDIS_CA_FILE": "has no effect: REDIS_URL does not begin with rediss://"} if lost else {}
    problems = {}
    for name, option, value in (
        ("redis_tls_verify", "ssl_cert_reqs", address.verified),
        ("redis_ca_file", "ssl_ca_certs", address.ca_file),
    ):
        if value is not None and values.setdefault(name, value) != value:
            problems[name.upper()] = f"contradicts the option {option} of REDIS_URL: leave one of them out"
    return problems


#: Name, default as text, and meaning of each setting, for the documentation.
DOCUMENTED: Final = tuple(
    (setting.name.upper(), setting.default, setting.metadata["meaning"]) for setting in fields(Settings)
)

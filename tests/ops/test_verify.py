"""``lockstep verify``: each check meets a server, a machine or a fleet that is really as wrong as it says."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from lockstep.embedded import EmbeddedRedis
from lockstep.processes import ProcessRecord, ProcessState, ProcessType
from lockstep.records import NewMessage
from lockstep.schema import SCHEMA
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.verifying import CHECKS, Finding, Status
from lockstep.verifying.findings import Deployment
from lockstep.verifying.production import is_local
from lockstep.verifying.running import run_check
from tests.support.waiting import LONG_COMMAND

OK, WARNING, FAILED, SKIPPED = Status
BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that tests may set up wrongly."""
    with EmbeddedRedis() as server:
        yield server.start(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def server(own_redis: str) -> Iterator[Any]:
    with redis.Redis.from_url(own_redis, decode_responses=True) as client:
        yield client
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
        client.config_set("appendfsync", "everysec")
        client.config_set("appendonly", "yes")
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.acl_setuser("default", enabled=True, nopass=True, commands=["+@all"], keys=["*"])
        client.flushall()


@pytest.fixture
def look(own_redis: str) -> Iterator[Callable[..., Finding]]:
    """Runs one check; options are settings."""
    opened: list[Store] = []

    def look(name: str, *, production: bool = False, **given: str) -> Finding:
        environment = {"REDIS_URL": own_redis, **{key.upper(): value for key, value in given.items()}}
        settings = Settings.load(environment, env_file="")
        opened.append(Store.connect(settings))
        deployment = Deployment(settings, {**os.environ, **environment}, opened[-1], production)
        return run_check(BY_NAME[name], deployment)

    yield look
    for store in opened:
        store.close()


# -- the server -------------------------------------------------------------------------------------------------------


def test_a_server_as_it_should_be(server: Any, look: Callable[..., Finding]) -> None:
    server.config_set("maxmemory", "100mb")
    names = [
        "redis version",
        "redis role",
        "persistence",
        "eviction",
        "memory",
        "latency",
        "clock",
        "scripts",
    ]

    assert {name: look(name, production=True).status for name in names} == dict.fromkeys(names, OK)


@pytest.mark.parametrize(
    ("name", "changes", "elsewhere", "in_production"),
    [
        ("eviction", {"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}, FAILED, FAILED),
        ("eviction", {"maxmemory-policy": "allkeys-lru"}, WARNING, FAILED),
        ("eviction", {"maxmemory-policy": "volatile-ttl"}, WARNING, FAILED),
        ("persistence", {"appendonly": "no"}, WARNING, FAILED),
        ("persistence", {"appendfsync": "no"}, WARNING, FAILED),
        ("persistence", {"appendfsync": "always"}, OK, OK),
        ("memory", {"maxmemory": "0"}, WARNING, FAILED),
    ],
)
def test_a_server_that_is_set_up_wrongly(
    server: Any,
    look: Callable[..., Finding],
    name: str,
    changes: dict[str, str],
    elsewhere: Status,
    in_production: Status,
) -> None:
    for parameter, value in changes.items():
        server.config_set(parameter, value)

    found = look(name), look(name, production=True)

    assert (found[0].status, found[1].status) == (elsewhere, in_production), found
    assert all(one.advice for one in found if one.status is not OK)


def test_a_server_that_is_nearly_full(server: Any, look: Callable[..., Finding]) -> None:
    server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 1.2))
    assert look("memory").status is WARNING
    assert look("memory", max_memory_percent="60").status is FAILED


def test_a_replica(server: Any, look: Callable[..., Finding]) -> None:
    server.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert look("redis role").status is FAILED
    assert look("scripts").status is FAILED


def test_a_user_who_may_not_run_scripts(server: Any, look: Callable[..., Finding]) -> None:
    server.acl_setuser("clerk", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-script|load"])
    url = url_of(server).replace("127.0.0.1", "clerk:any@127.0.0.1")

    assert look("redis version", redis_url=url).status is OK
    assert look("scripts", redis_url=url).status is FAILED


def test_a_server_that_keeps_its_configuration_to_itself(server: Any, look: Callable[..., Finding]) -> None:
    server.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])

    url = url_of(server).replace("127.0.0.1", "guest:any@127.0.0.1")
    found = look("persistence", production=True, redis_url=url)

    assert (found.status, "does not say" in found.told) == (WARNING, True)


def test_a_slow_server(server: Any, look: Callable[..., Finding]) -> None:
    store = Store.connect(Settings.load({"REDIS_URL": url_of(server)}, env_file=""))
    began = time.perf_counter()
    assert 0 < store.server.latency(5) < time.perf_counter() - began
    store.close()


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        (None, WARNING),
        ((SCHEMA, SCHEMA), OK),
        ((SCHEMA + 1, SCHEMA), OK),
        ((SCHEMA + 1, SCHEMA + 1), FAILED),
    ],
)
def test_the_schema(
    server: Any, look: Callable[..., Finding], numbers: tuple[int, int] | None, status: Status
) -> None:
    if numbers:
        store = Store.connect(Settings.load({"REDIS_URL": url_of(server)}, env_file=""))
        store.schema.migrate(*numbers)
        store.close()
    assert look("schema").status is status


# -- this machine -----------------------------------------------------------------------------------------------------


def test_the_data_directory(tmp_path: Path, look: Callable[..., Finding], server: Any) -> None:
    assert look("data directory", data_dir=str(tmp_path)).status in (OK, WARNING)
    assert look("data directory", data_dir=str(tmp_path / "none")).status is WARNING


def test_actors_that_cannot_be_imported(look: Callable[..., Finding], server: Any) -> None:
    assert look("actors").status is OK
    assert look("schedules").status is OK

    found = look("actors", actor_modules="nosuch")

    assert (found.status, "nosuch" in found.told) == (FAILED, True)
    assert look("schedules", actor_modules="nosuch").status is SKIPPED


# -- processes, and what waits ----------------------------------------------------------------------------------------


def record(kind: ProcessType, number: int, **changes: Any) -> ProcessRecord:
    base = ProcessRecord(
        name=f"{kind}:{number}",
        type=kind,
        instance=f"{kind}-{number}",
        host="here",
        pid=number,
        master_pid=number,
        boot="boot",
        version="one",
        started_ms=0,
        state=ProcessState.READY,
    )
    return replace(base, **changes)


@pytest.fixture
def store(server: Any) -> Iterator[Store]:
    store = Store.connect(Settings.load({"REDIS_URL": url_of(server)}, env_file=""))
    yield store
    store.close()


def test_processes_that_are_missing(store: Store, look: Callable[..., Finding]) -> None:
    for name, kind in zip(("web", "workers", "schedulers"), ProcessType, strict=True):
        assert look(name).status is FAILED
        store.processes.report(record(kind, 1, state=ProcessState.STARTING))
        assert "1 starting" in look(name).told
        store.processes.report(record(kind, 1))
        # Two processes of one master may end together.
        store.processes.report(record(kind, 2, master_pid=1))
        assert (look(name).status, look(name, production=True).status) == (OK, FAILED)
        store.processes.report(record(kind, 3))
        assert look(name, production=True).status is OK


def test_a_machine_that_is_to_run_none(look: Callable[..., Finding], server: Any) -> None:
    assert look("web", web_processes="0").status is WARNING
    assert look("workers", worker_masters="0").status is WARNING
    assert look("schedulers", scheduler_processes="0").status is WARNING
    assert look("schedulers", scheduler_processes="0", production=True).status is FAILED


def test_processes_of_two_releases_or_of_one_name(store: Store, look: Callable[..., Finding]) -> None:
    store.processes.report(record(ProcessType.WEB, 1))
    store.processes.report(record(ProcessType.WEB, 2))
    assert (look("versions").status, look("instances").status) == (OK, OK)

    store.processes.report(record(ProcessType.WEB, 2, version="two", instance="web-1"))

    assert look("versions").status is WARNING
    assert "1 of one, 1 of two" in look("versions").told
    assert (look("instances").status, look("instances", production=True).status) == (WARNING, FAILED)


def test_what_waits_for_somebody(store: Store, look: Callable[..., Finding]) -> None:
    names = ("intake", "queues", "groups", "dead letters")
    assert [look(name).status for name in names] == [OK] * 4

    store.enqueue("orders", [NewMessage(id=id_, actor="a", payload=b"", group="g") for id_ in ("1", "2")])
    store.dead.skip("orders", "g")
    store.pause("orders", "g")
    store.pause("orders")
    store.intake.switch(accept=False, why="night")

    found = [look(name) for name in names]
    assert [one.status for one in found] == [WARNING] * 4
    assert [one.told for one in found] == ["off: night", "orders paused", "orders: g (paused)", "1 in orders"]


def test_a_web_process_that_a_proxy_could_open(look: Callable[..., Finding]) -> None:
    found = look("exposure")
    assert (found.status, "proxy" in found.told, "API_KEYS" in found.advice) == (WARNING, True, True)
    assert look("exposure", host="0.0.0.0").status is FAILED
    assert (
        look("exposure", host="0.0.0.0", api_keys="ops:admin:0123456789abcdef0123456789abcdef").status is OK
    )


# -- before going live ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # of a library of Apprise's
@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("environment", {}, {"app_env": "production"}),
        ("api keys", {}, {"api_keys": "ops:admin:0123456789abcdef0123456789abcdef"}),
        ("metrics token", {}, {"metrics_token": "secret"}),
        ("log format", {}, {"log_format": "json"}),
        ("notices", {}, {"notification_dsn": "json://127.0.0.1:1"}),
        ("notices", {"notification_dsn": "what://is"}, {"notification_dsn": "json://127.0.0.1:1"}),
        ("redis access", {"redis_url": "redis://10.0.0.7"}, {"redis_url": "rediss://:secret@10.0.0.7"}),
        ("redis access", {"redis_url": "rediss://10.0.0.7"}, {"redis_url": "redis://localhost"}),
        (
            "redis access",
            {"redis_url": "rediss://:secret@10.0.0.7", "redis_tls_verify": "false"},
            {"redis_url": "redis://[::1]:6379/0"},
        ),
    ],
)
def test_settings_before_going_live(
    look: Callable[..., Finding], server: Any, name: str, wrong: dict[str, str], right: dict[str, str]
) -> None:
    assert look(name, production=True, **wrong).status is FAILED
    assert look(name, production=True, **right).status is OK


@pytest.mark.parametrize("option", ["none", "CERT_NONE"])
def test_a_certificate_that_the_url_leaves_unchecked_is_no_production(
    look: Callable[..., Finding], server: Any, option: str
) -> None:
    url = f"rediss://:secret@10.0.0.7?ssl_cert_reqs={option}"

    assert look("redis access", production=True, redis_url=url).status is FAILED
    assert look("redis access", production=True, redis_url=url.partition("?")[0]).status is OK


def test_load_tests_are_a_decision(look: Callable[..., Finding]) -> None:
    assert look("load test", production=True).status is OK
    assert look("load test", production=True, loadtest_actor="true").status is WARNING


def test_who_may_read_the_settings(
    look: Callable[..., Finding], server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert look("secrets", production=True).status is OK  # there is no such file

    (tmp_path / ".env").touch()
    for mode, status in ((0o644, FAILED), (0o642, FAILED), (0o640, OK), (0o600, OK)):
        (tmp_path / ".env").chmod(mode)
        assert look("secrets", production=True).status is status, oct(mode)


def test_what_is_local() -> None:
    assert [is_local(host) for host in ("127.0.0.9", "::1", "localhost", "db", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


# -- the command ------------------------------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", "from lockstep.cli import main; main()", *arguments],
        env={**inherited, **environment},
        cwd="docs",  # where no .env, no data and no package is
        capture_output=True,
        text=True,
        timeout=LONG_COMMAND,
        check=False,
    )


def test_the_command_tells_all_and_fails_for_one(own_redis: str, server: Any) -> None:
    before = command("verify", "--before", REDIS_URL=own_redis)
    after = command("verify", "--json", REDIS_URL=own_redis)

    assert before.returncode == 0, before.stdout
    assert "ok       scripts:" in before.stdout
    assert "web:" not in before.stdout
    told = json.loads(after.stdout)
    assert (after.returncode, told["ok"]) == (1, False)
    named = [one["check"] for one in told["checks"]]
    assert named == ["settings", "redis", *(check.name for check in CHECKS if not check.production)]
    assert {one["check"] for one in told["checks"] if one["status"] == "failed"} == {
        "web",
        "workers",
        "schedulers",
    }


@pytest.mark.parametrize("address", [{"REDIS_URL": "redis://:hidden@127.0.0.1:1"}, {}])
def test_redis_away_is_one_failed_check(address: dict[str, str]) -> None:
    ended = command("verify", "--json", "--production", **address)

    told = {one["check"]: one["status"] for one in json.loads(ended.stdout)["checks"]}
    assert (ended.returncode, told["redis"], told["actors"]) == (1, "failed", "ok")
    assert {told[check.name] for check in CHECKS if check.redis} == {"skipped"}
    assert "hidden" not in ended.stdout + ended.stderr


def test_wrong_settings_are_one_failed_check() -> None:
    ended = command("verify", PORT="x", MAX_CRASHES="0")

    assert ended.returncode == 1
    assert "failed   settings: PORT: " in ended.stdout
    assert "MAX_CRASHES: " in ended.stdout


def url_of(client: Any) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"

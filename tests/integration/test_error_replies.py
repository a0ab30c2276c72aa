"""Redis, a proxy or a hosted service may answer any command with any error: a worker lives through it."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import dramatiq
import pytest
import redis
from dramatiq import Worker

from lockstep import scripts
from lockstep.broker import LockstepBroker
from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.processes import ProcessState
from lockstep.settings import Settings
from middleware import make_broker
from tests.support.refusing import Chooses, RefusingProxy, every, naming
from tests.support.waiting import wait_for

#: What servers, proxies and hosted services say, each at any time and to any command.
ERRORS = [
    "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "-CLUSTERDOWN The cluster is down",
    "-CLUSTERDOWN Hash slot not served",
    "-TRYAGAIN Multiple keys request during rehashing of slot",
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "-NOPERM User default has no permissions to run the 'evalsha' command",
    "-FAILOVER Another failover is in progress.",
    "-IOERR error or timeout reading to target instance",
    "-MOVED 3999 127.0.0.1:6381",
    "-ASK 3999 127.0.0.1:6381",
    "-DENIED Redis is running in protected mode",
    "-NOAUTH Authentication required.",
    "-WRONGPASS invalid username-password pair or user is disabled.",
    "-MISCONF Errors writing to the AOF file: No space left on device",
    "-NOREPLICAS Not enough good replicas to write.",
    "-READONLY You can't write against a read only replica.",
    "-OOM command not allowed when used memory > 'maxmemory'.",
    "-LOADING Redis is loading the dataset in memory",
    "-BUSY Redis is busy running a script.",
    "-EXECABORT Transaction discarded because of previous errors.",
    "-NOSCRIPT No matching script.",
    "-CROSSSLOT Keys in request don't hash to the same slot",
    "-NOPROTO unsupported protocol version",
    "-WRONGTYPE Operation against a key holding the wrong kind of value",
    "-ERR max number of clients reached",
    "-ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
    "-ERR unknown command 'EVALSHA', with args beginning with: 'on @user_script:1.' ",
    "-ERR unknown command 'INFO'",
    "-ERR Proxy error: upstream failure",
    "-upstream connect error or disconnect/reset before headers",
    "-",
    b"-ERR \xff\xfe not text",
    "HTTP/1.1 503 Service Unavailable",
    "+OK",
    ":1",
    "$-1",
    "*-1",
    "*0",
    "$3\r\nabc",
    "*2\r\n:1\r\n$1\r\nx",
    "",
]


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RefusingProxy]:
    proxy = RefusingProxy(urlsplit(redis_url).port or 0)
    yield proxy
    proxy.close()


@pytest.fixture
def broker(
    settings: Settings, proxy: RefusingProxy, request: pytest.FixtureRequest
) -> Iterator[LockstepBroker]:
    """A broker whose every connection goes through the proxy."""
    shards = getattr(request, "param", 1)
    through = dataclasses.replace(settings, redis_url=proxy.url, reap_seconds=0.2, queue_shards=shards)
    broker = make_broker(through)
    dramatiq.set_broker(broker)
    yield broker
    proxy.allow()
    broker.close()


@pytest.fixture
def worker(
    broker: LockstepBroker, proxy: RefusingProxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Worker]]:
    """Start a worker whose consumer, as far as Dramatiq is asked, waits far too long for every test here."""
    started: list[Worker] = []
    consume = broker.consume
    monkeypatch.setattr(
        broker, "consume", lambda queue_name, prefetch, timeout: consume(queue_name, prefetch, 60_000)
    )

    def start() -> Worker:
        one = Worker(broker, worker_threads=2, worker_timeout=100)
        one.start()
        started.append(one)
        return one

    yield start
    proxy.allow()
    for one in started:
        one.stop(timeout=10_000)


@pytest.fixture
def direct(settings: Settings, broker: LockstepBroker) -> Iterator[LockstepBroker]:
    """A broker that sends past the proxy."""
    plain = make_broker(dataclasses.replace(settings, queue_shards=broker.settings.queue_shards))
    yield plain
    plain.close()


class Ran:
    """What ran, and how to send more past the proxy."""

    def __init__(self, broker: LockstepBroker, direct: LockstepBroker) -> None:
        self.numbers: list[int] = []

        def work(n: int) -> None:
            self.numbers.append(n)

        dramatiq.actor(work, actor_name="work", broker=broker)
        self._actor = dramatiq.actor(work, actor_name="work", broker=direct)
        self._sent = 0

    def send(self, group: str = "g") -> int:
        self._sent += 1
        self._actor.send_with_options(kwargs={"n": self._sent}, group=group)
        return self._sent

    def wait(self, number: int, timeout: float = 30.0) -> None:
        wait_for(f"message {number} has run", lambda: number in self.numbers, timeout)


@pytest.fixture
def ran(broker: LockstepBroker, direct: LockstepBroker) -> Ran:
    return Ran(broker, direct)


def _alive() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate() if "_serve" not in thread.name}


def _state(broker: LockstepBroker) -> ProcessState:
    (record,) = broker.store.processes.listing()
    return record.state


def _ready(broker: LockstepBroker, direct: LockstepBroker) -> None:
    wait_for("the worker is ready", lambda: broker.connected_queues == {"default"})
    wait_for("it says so", lambda: [one.state for one in direct.store.processes.listing()] == ["ready"])


def test_an_idle_worker_lives_through_every_error_to_every_command(
    broker: LockstepBroker,
    direct: LockstepBroker,
    proxy: RefusingProxy,
    worker: Callable[[], Worker],
    ran: Ran,
) -> None:
    worker()
    _ready(broker, direct)
    before = _alive()
    for error in ERRORS:
        refused = proxy.refused
        with proxy.refusing(error):
            broker.let_go("")  # the consumer looks now
            number = ran.send()
            wait_for(f"{error!r} was met", lambda refused=refused: proxy.refused >= refused + 8)
        ran.wait(number)
        assert _alive() >= before, error
    assert ran.numbers == sorted(ran.numbers)
    _ready(broker, direct)
    assert proxy.refused < 400 * len(ERRORS)  # no hot loop


@pytest.mark.parametrize("script", ["claim", "settle", "extend", "reap", "start"])
def test_a_refused_script_passes(
    broker: LockstepBroker,
    direct: LockstepBroker,
    proxy: RefusingProxy,
    worker: Callable[[], Worker],
    ran: Ran,
    script: str,
) -> None:
    worker()
    _ready(broker, direct)
    for error in ERRORS[::4]:
        with proxy.refusing(error, naming(scripts.load(script).sha)):
            broker.let_go("")
            ran.send()
        ran.wait(ran.send())
    wait_for("all are done", lambda: direct.store.counts("default").messages["done"] == len(ran.numbers))
    assert ran.numbers == sorted(ran.numbers)


def test_a_worker_that_cannot_claim_is_not_ready(
    broker: LockstepBroker,
    direct: LockstepBroker,
    proxy: RefusingProxy,
    worker: Callable[[], Worker],
    ran: Ran,
) -> None:
    worker()
    _ready(broker, direct)
    with proxy.refusing("-NOPERM this user has no permissions", naming(scripts.load("claim").sha)):
        # Nothing is sent: the worker is idle, and finds out by itself.
        wait_for(
            "it is not ready any more",
            lambda: [one.state for one in direct.store.processes.listing()] == [ProcessState.STARTING],
            30,
        )
    _ready(broker, direct)
    ran.wait(ran.send())


@pytest.mark.parametrize("error", [ERRORS[0], "-NOPERM no BLPOP", "-ERR unknown command 'BLPOP'", ""])
def test_an_idle_consumer_polls_though_its_wake_up_is_refused(
    broker: LockstepBroker,
    direct: LockstepBroker,
    proxy: RefusingProxy,
    worker: Callable[[], Worker],
    ran: Ran,
    error: str,
) -> None:
    worker()
    _ready(broker, direct)
    with proxy.refusing(error, naming("BLPOP")):
        direct.store.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for("the wake-up was refused", lambda: proxy.refused > 1)
        sent_at = time.monotonic()
        ran.wait(ran.send())
        assert time.monotonic() - sent_at < 25  # a poll; the idle wait is a minute


def test_an_idle_worker_is_woken_at_once_after_its_blocked_read_was_ended(
    broker: LockstepBroker, direct: LockstepBroker, worker: Callable[[], Worker], ran: Ran
) -> None:
    worker()
    _ready(broker, direct)
    ran.wait(ran.send())
    command = direct.store.command

    def blocked() -> list[bytes]:
        lines = bytes(command("CLIENT", "LIST")).splitlines()
        mine = [line for line in lines if b"cmd=blpop" in line and b" flags=b " in line]
        return [line.split(b" ")[0].removeprefix(b"id=") for line in mine]

    def demote() -> None:
        command("REPLICAOF", "127.0.0.1", "1")
        command("REPLICAOF", "NO", "ONE")

    endings: list[Callable[[], object]] = [
        lambda: command("CLIENT", "UNBLOCK", blocked()[0], "ERROR"),
        lambda: command("CLIENT", "UNBLOCK", blocked()[0], "TIMEOUT"),
        lambda: command("CLIENT", "KILL", "ID", blocked()[0]),
        lambda: command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        demote,
    ]
    fastest = []
    for end in endings * 2:
        wait_for("its read blocks", blocked)
        end()
        sent_at = time.monotonic()
        ran.wait(ran.send())
        fastest.append(time.monotonic() - sent_at)
    # Polling alone would take seconds each time. The machine may be busy, so not each is judged.
    assert sorted(fastest)[len(fastest) // 2] < 1.5, fastest


@pytest.mark.parametrize("broker", [4], indirect=True)
def test_a_shard_that_fails_stops_no_other(
    broker: LockstepBroker, direct: LockstepBroker, proxy: RefusingProxy, worker: Callable[[], Worker]
) -> None:
    ran: list[str] = []

    def work(group: str, seconds: float = 0.0) -> None:
        time.sleep(seconds)
        ran.append(group)

    dramatiq.actor(work, actor_name="work", broker=broker, group_by="{group}")
    sent = dramatiq.actor(work, actor_name="work", broker=direct, group_by="{group}")
    shards = {direct.store.shard_of("default", f"g{number}", "").shard: f"g{number}" for number in range(64)}
    lame = direct.store.shards("default")[1]
    worker()
    _ready(broker, direct)
    with proxy.refusing("-CLUSTERDOWN Hash slot not served", naming(lame.prefix)):
        sent.send(shards[1])
        for shard in (0, 2, 3):
            sent.send(shards[shard], 1.5 * broker.settings.lease_seconds if shard == 2 else 0.0)
        wait_for("the others run", lambda: set(ran) == {shards[0], shards[2], shards[3]})
        assert ran.count(shards[2]) == 1  # its lease was renewed
        assert broker.connected_queues == set()
    wait_for("the shard that failed works again", lambda: shards[1] in ran)


@pytest.mark.parametrize("broker", [2], indirect=True)
def test_a_script_that_breaks_in_one_shard_stops_no_other_and_ends_nothing(
    broker: LockstepBroker, direct: LockstepBroker, worker: Callable[[], Worker]
) -> None:
    ran: list[str] = []

    def work(group: str) -> None:
        ran.append(group)

    dramatiq.actor(work, actor_name="work", broker=broker, group_by="{group}")
    sent = dramatiq.actor(work, actor_name="work", broker=direct, group_by="{group}")
    shards = {direct.store.shard_of("default", f"g{n}", "").shard: f"g{n}" for n in range(32)}
    broken = direct.store.shards("default")[0]
    worker()
    _ready(broker, direct)
    for key in ("ready", "claimers"):  # of the claim, and of the reaper
        direct.store.command("DEL", broken.prefix + key)
        direct.store.command("SET", broken.prefix + key, "of another type")
    broker.let_go("")
    wait_for("the script breaks", lambda: broker.connected_queues == set())
    sent.send(shards[1])
    wait_for("the other shard works", lambda: ran == [shards[1]])
    for key in ("ready", "claimers"):
        direct.store.command("DEL", broken.prefix + key)
    wait_for("it recovers", lambda: broker.connected_queues == {"default"})
    sent.send(shards[0])
    wait_for("the shard that was broken works again", lambda: shards[0] in ran)


def _classified(call: Callable[[], object]) -> type[Exception]:
    with pytest.raises((RedisUnavailable, ScriptFailed)) as caught:
        call()
    return caught.type


@pytest.mark.parametrize("error", [one for one in ERRORS if one[:1] in ("-", b"-")])
def test_an_error_from_outside_our_scripts_passes(
    broker: LockstepBroker, proxy: RefusingProxy, error: str | bytes
) -> None:
    chooses: list[Chooses] = [every, naming("EVAL"), naming("INFO")]
    for choose in chooses:
        with proxy.refusing(error, choose):
            broker.store.close()
            assert _classified(lambda: broker.store.limits.declare({}, {}, {"x": 1})) is RedisUnavailable
    with proxy.refusing(error):
        assert _classified(broker.store.ping) is RedisUnavailable


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        # Redis 7 and 8, Valkey 8
        ("-ERR user_script:7: attempt to index a nil value script: {sha}, on @user_script:7.", ScriptFailed),
        ("-WRONGTYPE Operation against a key script: {sha}, on @user_script:7.", ScriptFailed),
        ("-ERR value is not an integer or out of range script: {sha}, on @user_script:7.", ScriptFailed),
        ("-OOM command not allowed when used memory > 'maxmemory'. script: {sha}, on @user_script:7.", None),
        ("-READONLY You can't write against a replica. script: {sha}, on @user_script:7.", None),
        ("-MISCONF Errors writing to the AOF file: x script: {sha}, on @user_script:7.", None),
        ("-NOREPLICAS Not enough good replicas to write. script: {sha}, on @user_script:7.", None),
        ("-NOPERM ACL failure in script: User u has no permissions script: {sha}, on @user_script:7.", None),
        ("-ERR ACL failure in script: User u has no permissions script: {sha}, on @user_script:7.", None),
        ("-CLUSTERDOWN Hash slot not served script: {sha}, on @user_script:7.", None),
        # Valkey 9
        ("-ERR user_script:7: boo script: on @user_script:7.", ScriptFailed),
        ("-OOM command not allowed when used memory > 'maxmemory'. script: on @user_script:7.", None),
        # Redis 6
        ("-ERR Error running script (call to f_{sha}): @user_script:7: user_script:7: boo", ScriptFailed),
        ("-ERR Error running script (call to f_{sha}): @user_script:7: WRONGTYPE Operation", ScriptFailed),
        ("-ERR Error running script (call to f_{sha}): @user_script:7: OOM command not allowed", None),
        ("-ERR Error running script (call to f_{sha}): @user_script:7: @user_script: 7: -READONLY x", None),
        ("-ERR Error running script (call to f_{sha}): @user_script:7: -CLUSTERDOWN x", None),
        ("-ERR Error compiling script (new function): user_script:1: '=' expected near '1'", ScriptFailed),
    ],
)
def test_an_error_from_inside_a_script_is_a_defect_unless_it_is_about_the_server(
    broker: LockstepBroker, proxy: RefusingProxy, reply: str, kind: type[Exception] | None
) -> None:
    with proxy.refusing(reply.format(sha=scripts.load("counts").sha), naming("EVAL")):
        assert _classified(lambda: broker.store.limits.declare({}, {}, {"x": 1})) is (
            kind or RedisUnavailable
        )


def test_a_real_server_reports_its_scripts_as_we_read_it(broker: LockstepBroker, redis_url: str) -> None:
    shard = broker.store.shards("q")[0]
    broker.store.command("SET", shard.prefix + "claimers", "of another type")
    assert _classified(lambda: broker.store.reap(shard, claimer="me")) is ScriptFailed
    assert _classified(lambda: broker.store.command("SCRIPT", "LOAD", "retrn 1")) is ScriptFailed
    assert (
        _classified(lambda: broker.store.command("LPUSH", shard.prefix + "claimers", 1)) is RedisUnavailable
    )
    with redis.Redis.from_url(redis_url) as admin:
        admin.config_set("maxmemory", 1)
        try:
            assert _classified(lambda: broker.store.limits.declare({}, {}, {"x": 1})) is RedisUnavailable
        finally:
            admin.config_set("maxmemory", 0)

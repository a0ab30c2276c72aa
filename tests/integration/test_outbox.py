"""What is in an outbox is enqueued by whoever is there, and an entry that cannot be delivered holds up no other."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import StubBackend

from lockstep import outbox
from lockstep.broker import LockstepBroker
from lockstep.outbox import Arrival, write_arrival
from lockstep.settings import Settings
from lockstep.states import MessageState
from middleware import make_broker
from tests.support.known import is_known
from tests.support.refusing import RefusingProxy
from tests.support.waiting import wait_for

Start = Callable[[], Worker]


@pytest.fixture
def ran(broker: LockstepBroker) -> list[int]:
    """What the actor ``follow`` of the broker ran with."""
    return declare(broker)


def declare(broker: LockstepBroker) -> list[int]:
    ran: list[int] = []

    @dramatiq.actor(broker=broker, actor_name="follow", group_by="{n}")
    def follow(n: int) -> None:
        ran.append(n)

    return ran


def follow_up(broker: LockstepBroker, n: int) -> bytes:
    return broker.prepare_follow_up(broker.get_actor("follow").message(n))


def owe(broker: LockstepBroker, entries: list[bytes], score: int) -> None:
    """Leave entries in an outbox, as a process that died has done; the lowest score is the oldest."""
    broker.store.declare("default")
    broker.store.command("ZADD", outbox_of(broker), *(part for one in entries for part in (score, one)))


def outbox_of(broker: LockstepBroker) -> str:
    return broker.store.shards("default")[0].outbox


class AwayBackend(StubBackend):
    """The back end of barriers, which does not answer at first."""

    away = True

    def add(self, key: str, value: int, ttl: int) -> bool:
        if self.away:
            raise ConnectionError("away")
        return super().add(key, value, ttl)


def arrivals(broker: LockstepBroker, number: int) -> list[bytes]:
    return [write_arrival(Arrival(f"barrier-{n}", f"m-{n}", [])) for n in range(number)]


def test_an_export_has_what_outboxes_hold(broker: LockstepBroker, ran: list[int]) -> None:
    owe(broker, arrivals(broker, 3), 1)
    owe(broker, [follow_up(broker, n) for n in range(250)], 2)
    owe(broker, [b"\xff", b"{}"], 3)
    assert broker.store.counts("default").messages[MessageState.WAITING] == 255  # a drain waits for them
    export = broker.store.export()
    assert export.left == 5
    assert len(list(export.lines())) == 1 + 250
    assert broker.store.command("ZCARD", outbox_of(broker)) == 5


def test_what_cannot_be_delivered_holds_up_nothing_behind_it(
    broker: LockstepBroker, start: Start, ran: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    back_end = AwayBackend()
    broker.add_middleware(GroupCallbacks(back_end))
    owe(broker, [b"unreadable %d" % n for n in range(25)], 1)
    owe(broker, arrivals(broker, 25), 1)
    owe(broker, [follow_up(broker, 1)], 2)
    start()
    wait_for("the follow-up ran", lambda: ran == [1])
    monkeypatch.setattr(outbox, "_POSTPONED_MS", 100)
    back_end.away = False
    wait_for("the arrivals are delivered", lambda: broker.store.command("ZCARD", outbox_of(broker)) == 25)
    found = broker.store.fsck.run(repair=True)
    assert {(one.what, one.fault) for one in found.left} == {("follow_up", "unreadable")}
    assert (len(found.left), found.repaired) == (25, [])


def test_a_process_without_the_barriers_leaves_arrivals_to_others(
    broker: LockstepBroker, start: Start, ran: list[int]
) -> None:
    owe(broker, arrivals(broker, 25), 1)
    owe(broker, [follow_up(broker, 1)], 2)
    start()
    wait_for("the follow-up ran", lambda: ran == [1])
    assert broker.store.command("ZCARD", outbox_of(broker)) == 25


@pytest.fixture
def behind_proxy(settings: Settings) -> Iterator[tuple[LockstepBroker, RefusingProxy]]:
    """A broker with several shards that goes through a proxy."""
    assert settings.redis_url is not None
    proxy = RefusingProxy(int(settings.redis_url.rpartition(":")[2].partition("/")[0]))
    broker = make_broker(dataclasses.replace(settings, redis_url=proxy.url, queue_shards=4))
    yield broker, proxy
    broker.close()
    proxy.close()


def test_a_shard_that_fails_holds_up_no_other(
    behind_proxy: tuple[LockstepBroker, RefusingProxy],
) -> None:
    broker, proxy = behind_proxy
    declare(broker)
    entries = [follow_up(broker, n) for n in range(40)]
    messages = [outbox.read(entry) for entry in entries]
    owe(broker, entries, 1)
    source, *others = broker.store.shards("default")
    failing = others[0].meta.encode()
    with proxy.refusing("-CLUSTERDOWN Hash slot not served", lambda parts: failing in parts[3:4]):
        broker.deliver(source, entries)
    assert proxy.refused
    kept = set(broker.store.command("ZRANGE", source.outbox, 0, -1))
    assert 0 < len(kept) < 40
    for entry, one in zip(entries, messages, strict=True):
        assert not isinstance(one, Arrival)
        assert is_known(broker, one[1].id) is (entry not in kept)
    broker.deliver(source, list(kept))
    assert broker.store.counts("default").messages[MessageState.WAITING] == 40
    assert not broker.store.command("EXISTS", source.outbox)


def test_commands_say_what_an_export_lacks(
    broker: LockstepBroker,
    ran: list[int],
    capsys: pytest.CaptureFixture[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lockstep.cli import backup

    monkeypatch.setattr(backup, "settings_with_redis", lambda: broker.settings)
    owe(broker, arrivals(broker, 2), 1)
    backup.export("-")
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == 1
    assert "2 entries of outboxes are not in the export" in written.err

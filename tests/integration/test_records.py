"""Words find messages and go with them; retention ends by age and count."""

from collections.abc import Iterator

import dramatiq
import pytest
import redis

from lockstep.broker import LockstepBroker
from lockstep.errors import IdempotencyConflict, InvalidMessage
from lockstep.keys import ShardKeys
from lockstep.listing import Wanted
from lockstep.retention import Removed
from lockstep.settings import Settings
from lockstep.states import Verb
from lockstep.store import Store
from lockstep.words import MOST, words_of, words_of_arguments
from middleware import make_broker
from tests.integration.test_listing import end, everything, new
from tests.scripts.shard import Shard, settlement


@pytest.fixture
def shard(redis_url: str, settings: Settings) -> Iterator[Shard]:
    client = redis.Redis.from_url(redis_url, protocol=2)
    yield Shard(client, ShardKeys(settings.queue_namespace, "q", 0))
    client.close()


@pytest.fixture
def indexing(redis_url: str, settings: Settings) -> Iterator[LockstepBroker]:
    given = {"REDIS_URL": redis_url, "QUEUE_NAMESPACE": settings.queue_namespace, "SEARCH_INDEX": "true"}
    broker = make_broker(Settings.load(given, env_file=""))

    @dramatiq.actor(broker=broker, queue_name="q", actor_name="say")
    def say(*args: object, **kwargs: object) -> None: ...

    yield broker
    broker.close()


def found(broker: LockstepBroker, text: str, limit: int = 50) -> list[str]:
    return sorted(one.id for one in everything(broker.store, Wanted(words=tuple(words_of(text))), limit))


def say(broker: LockstepBroker, id_: str, *args: object, **kwargs: object) -> None:
    options = {"group": "g", "message_id": id_}
    broker.get_actor("say").send_with_options(args=args, kwargs=kwargs, **options)


def words_kept(shard: Shard) -> list[str]:
    return [name[5:] for name in shard.snapshot() if name.startswith("word:")]


def test_all_words_must_be_there(indexing: LockstepBroker) -> None:
    say(indexing, "a", "Hello big World", number=4711)
    say(indexing, "b", nested={"to": ["hello", "Zoë"]})
    say(indexing, "c", "other")
    assert found(indexing, "HELLO") == ["a", "b"]
    assert found(indexing, "world hello") == ["a"]
    assert found(indexing, "zoë") == ["b"]
    assert found(indexing, "4711") == ["a"]
    assert found(indexing, "hello other") == []
    assert found(indexing, "hell") == []


def test_words_go_with_their_messages(indexing: LockstepBroker, shard: Shard) -> None:
    for number, verb in enumerate((Verb.COMPLETE, Verb.CANCEL, Verb.DEAD_LETTER)):
        say(indexing, f"m{number}", "common", f"word{number}")
        end(shard, verb)
    assert found(indexing, "common") == ["m0", "m1", "m2"]
    say(indexing, "m3", "common")
    assert indexing.store.retention.cleanup(age_ms=-1000) == Removed(1, 1, 0)
    assert words_kept(shard) == ["common", "word2"]
    assert found(indexing, "common") == ["m2", "m3"]
    indexing.store.dead.discard(["m2"])
    assert sum(indexing.store.purges.purge("q")) == 1
    assert words_kept(shard) == []


def test_a_repeat_is_not_indexed_by_what_it_says_now(indexing: LockstepBroker) -> None:
    say(indexing, "a", "first")
    say(indexing, "a", "first")
    with pytest.raises(IdempotencyConflict):
        say(indexing, "a", "second")
    assert found(indexing, "first") == ["a"]
    assert found(indexing, "second") == []


def test_pages_of_many_words_leave_nothing_out(indexing: LockstepBroker) -> None:
    for number in range(700):
        say(indexing, f"m{number}", "even" if number % 2 == 0 else "odd", "all")
    assert len(found(indexing, "all even", limit=37)) == 350


def test_a_message_that_is_lost_is_not_found(indexing: LockstepBroker, shard: Shard) -> None:
    say(indexing, "a", "hello")
    shard.redis.hdel(shard.key("messages"), "a")
    assert found(indexing, "hello") == []


def test_without_the_index_words_are_refused_and_nothing_is_kept(store: Store, shard: Shard) -> None:
    store.enqueue("q", [new("a", "g")])
    assert words_kept(shard) == []
    assert "indexed" not in shard.snapshot()["meta"]
    with pytest.raises(InvalidMessage, match="SEARCH_INDEX"):
        store.listing.page(Wanted(words=("hello",)))


def test_what_the_words_of_a_message_are() -> None:
    assert words_of("A it's  FOUR-five_six 99 100") == ["four", "five", "six", "100"]
    assert words_of("x" * 33 + " " + "y" * 32) == ["y" * 32]
    assert words_of_arguments(["one", "one", True, None, 1.5], {"k": {"name": "two"}}) == ["one", "two"]
    assert len(words_of_arguments([f"word{n}" for n in range(50)], {})) == MOST


def test_cancelled_records_are_kept_by_count(store: Store, shard: Shard) -> None:
    store.enqueue("q", [new(f"m{number}") for number in range(5)])
    for number in range(5):
        store.switches.cancel(f"m{number}")
        shard.redis.zadd(shard.key("cancelled"), {f"m{number}": shard.now(number)})
    shard.run("reap", "", 60_000, 3_600_000, 3, 200, 3_600_000, 0, 2)
    assert list(shard.snapshot()["cancelled"]) == ["m3", "m4"]
    assert sorted(shard.snapshot()["messages"]) == ["m3", "m4"]


def test_cleanup_removes_in_batches_and_says_so(store: Store, shard: Shard) -> None:
    for first in (0, 600):
        store.enqueue("q", [new(f"m{first + number}") for number in range(600)])
        claim = shard.claim(600)
        shard.settle(*(settlement(lease, Verb.COMPLETE) for lease in claim.leases), keep=10_000)
    told: list[Removed] = []
    assert store.retention.cleanup("q", progress=told.append) == Removed(done=200)  # by RETENTION_DONE_COUNT
    assert store.retention.cleanup("q", age_ms=-1000, progress=told.append) == Removed(done=1000)
    assert len(told) == 3
    assert shard.snapshot().keys() & {"messages", "done", "done_order"} == set()
    assert store.retention.cleanup() == Removed()

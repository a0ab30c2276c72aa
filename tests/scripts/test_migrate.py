"""The schema number only rises, and releases that are too old for it are told so."""

import pytest
import redis

from lockstep.errors import SchemaTooNew, ScriptFailed
from lockstep.schema import OLDEST, SCHEMA, SchemaRecord
from lockstep.store import Store


@pytest.fixture
def stored(store: Store, redis_url: str):
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield lambda: client.hgetall(store.global_key("schema"))
    client.close()


def test_a_fresh_redis_gets_the_numbers_of_this_release(store, stored):
    assert store.schema.read() is None
    store.schema.check()  # fresh data suit every release

    migration = store.schema.migrate()

    assert (migration.before, migration.changed) == (0, True)
    assert stored() == {
        "number": str(SCHEMA),
        "oldest": str(OLDEST),
        "at": str(migration.record.at_ms),
    }
    assert store.schema.read() == migration.record


def test_migrating_again_changes_nothing(store, stored):
    first = store.schema.migrate(2, 1)
    before = stored()

    again = store.schema.migrate(2, 1)

    assert (again.before, again.changed, again.record) == (2, False, first.record)
    assert stored() == before


def test_numbers_rise_and_are_never_lowered(store):
    store.schema.migrate(3, 1)
    assert not store.schema.migrate(2, 1).changed  # an older release, which may still run
    assert store.schema.read().number == 3
    assert store.schema.migrate(4, 3).record.oldest == 3
    assert store.schema.migrate(3, 1).record == store.schema.read()
    assert (store.schema.read().number, store.schema.read().oldest) == (4, 3)


def test_a_release_that_is_too_old_changes_nothing(store, stored):
    store.schema.migrate(SCHEMA + 2, SCHEMA + 1)
    before = stored()

    with pytest.raises(SchemaTooNew) as refused:
        store.schema.migrate()
    with pytest.raises(SchemaTooNew):
        store.schema.check()

    assert (refused.value.ours, refused.value.oldest) == (SCHEMA, SCHEMA + 1)
    assert stored() == before


def test_an_older_release_may_run_when_the_newer_one_says_so(store):
    store.schema.migrate(SCHEMA + 1, SCHEMA)
    store.schema.check()
    assert isinstance(store.schema.read(), SchemaRecord)


@pytest.mark.parametrize("numbers", [(0, 0), (1, 2), ("x", 1), (2, "")])
def test_numbers_that_make_no_sense_are_refused(store, stored, numbers):
    with pytest.raises(ScriptFailed, match="expected 1 <= oldest <= number"):
        store.schema.migrate(*numbers)
    assert stored() == {}

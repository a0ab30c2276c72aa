"""Releases side by side: what a newer one wrote of a message survives all that this one does to it.

A message of an actor that this release does not know is parked: see
``tests/faults/test_poison.py::test_unknown_actor_is_parked_until_a_newer_worker_knows_it``.
"""

import json

import pytest
from dramatiq import Message

from lockstep.envelope import OrjsonEncoder, decode, encode
from lockstep.states import Verb
from tests.scripts.shard import message, settlement, text

#: Adds what this release knows nothing of: an element of the row, and one of its extras.
_NEWER = """
local row = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
for place = 6, 8 do row[place] = row[place] or 0 end
row[9], row[10], row[11] = row[9] or {}, row[10] or '', row[11] or 0
row[12], row[13], row[14] = row[12] or '', row[13] or 0, row[14] or {}
row[14].newer = {'kept', 7}
row[15] = 'newer'
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(row))
"""

_READ = """
local row = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
return {row[3], row[15] or '', cjson.encode(row[14] and row[14].newer or false)}
"""


@pytest.fixture
def payload():
    newer = Message("q", "act", (), {}, {"group": "g", "newer_option": {"deep": [1]}}, "m1")
    return encode(newer, OrjsonEncoder())


@pytest.fixture
def kept(shard, payload):
    """Says whether everything of the newer release is still there."""

    def kept():
        stored, element, extra = shard.redis.execute_command("EVAL", _READ, 1, shard.key("messages"), "m1")
        assert (stored, text(element), json.loads(extra)) == (payload, "newer", ["kept", 7])

    return kept


@pytest.fixture
def newer(shard, payload):
    """A message of a newer release, the first of two in its group."""
    shard.enqueue(message("m1", "g", payload=payload, priority=3), message("m2", "g"))
    shard.redis.execute_command("EVAL", _NEWER, 1, shard.key("messages"), "m1")
    return "m1"


def test_a_retry_a_release_a_crash_and_a_pause_keep_it(shard, newer, kept):
    shard.settle(settlement(shard.lease(), Verb.RETRY, delay_ms=0, error=b'{"type":"E"}'))
    kept()
    shard.settle(settlement(shard.lease(), Verb.RELEASE))
    kept()
    shard.settle(settlement(shard.lease(), Verb.RELEASE, delay_ms=1, reason="unknown_actor", park=True))
    kept()
    shard.run("promote", "op", shard.number(), newer, 0)
    lease = shard.lease()
    shard.run("reap", "", 60_000, 3_600_000, 3, 200, 3_600_000, 0)
    shard.expire(lease.ref)
    assert shard.reap().retried == [newer]
    kept()
    shard.run("pause", "g:g")
    shard.run("resume", "g:g")
    kept()
    assert shard.lease().id == newer


def test_death_and_redrive_keep_it(shard, newer, kept):
    shard.bury(newer)
    kept()
    assert shard.redrive(newer, order="head")[2] == [newer]
    kept()
    lease = shard.lease()
    assert (lease.id, lease.payload) == (
        newer,
        shard.redis.execute_command("EVAL", _READ, 1, shard.key("messages"), newer)[0],
    )
    shard.settle(settlement(lease, Verb.COMPLETE))
    kept()  # its record, too
    assert shard.lease().id == "m2"


def test_fsck_calls_it_whole(shard, newer):
    assert shard.run("check", "message", newer, "") == []


def test_options_that_are_unknown_here_are_carried_along(payload):
    decoded = decode(payload, OrjsonEncoder())
    assert decoded.options["newer_option"] == {"deep": [1]}
    assert encode(decoded, OrjsonEncoder()) == payload


def test_fields_that_are_unknown_here_do_not_stop_a_message(payload):
    whole = {**json.loads(payload), "newer_field": 1}
    assert decode(json.dumps(whole).encode(), OrjsonEncoder()).options["newer_option"] == {"deep": [1]}

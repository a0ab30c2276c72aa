"""The names of every Redis key; nobody else builds one.

All keys of a shard share one hash tag, so that a script may touch any of them on a cluster:
the namespace, queue and shard in braces, then what the key holds. A group's own text only ever
stands at the end of a key, so nothing in it is special.

=============  ======  ==================================================================
key            type    what is in it
=============  ======  ==================================================================
meta           hash    seq, fence, epoch, hold_since, hold_until, reaped_at, latest, amnesty, paused (ms),
                       leveled, turn, limits, indexed
messages       hash    message id -> row (see ``lua/includes/row.lua``)
group:g:GROUP  list    ids of a group's unfinished messages, its head first
ready          list    refs of groups whose head may be claimed; those with a priority of 1 to 9 in
                       ready:1 to ready:9
leases         hash    ref -> lease of its running head (``lua/includes/lease.lua``)
expiries       zset    ref -> ms when its lease ends
paused         set     refs of groups that an operator paused
halted         set     those of them that would be ready
blocked        zset    ref -> ms when its backoff ends; +inf: an operator must act
limited        hash    ref -> lane that the group waits in because of a limit
lane:LANE      zset    ref -> server microseconds when it came, to order them
lanes          zset    lane -> ms when it is looked at again; 0: now, -1: always
scheduled      zset    acceptance number and id -> ms when it joins its group
done           hash    id -> what is remembered of a finished message
done_order     list    ids in done, oldest first
kept           zset    those ids in done that have a retention of their own -> ms when it ends
dead           zset    id of a dead letter -> ms when it died
dead_order     zset    the same ids -> their sequences: their original order
dead_actors    hash    actor -> number of its dead letters
kinds          hash    kind of dead letters -> what they have in common (``lua/includes/dead.lua``)
kind:KIND      zset    id of each dead letter of a kind -> ms when it died
result:ID      string  what an actor returned; expires
removed        zset    reason:id of the newest messages that were purged or discarded -> ms when; expires
outbox         zset    follow-up message of a message that ended, until it is enqueued
                       (``lockstep/outbox.py``) -> ms when that ended
wake           list    at most a few tokens that wake idle consumers
cancelled      zset    id of a message that was taken back -> ms when it was
cancelling     set     tokens of leases whose messages are to be cancelled
claimers       zset    consumer -> ms when it last reaped; who must be waited for after a restart
unique         hash    print -> id of the message that is the only one by it until it started or finished
unique:PRINT   string  the same for a period; expires
stats          hash    counters and histogram buckets
word:WORD      set     ids of messages that are found by a word (SEARCH_INDEX)
survey         hash    at (ms), place, position, passes of the search for extreme groups; only with many groups
survey:deep    zset    ref -> depth of the deepest groups that it found
survey:old     zset    ref -> ms since when the heads of the oldest could go on
pace           hash    what ended by when, as the last questions for a scaling hint noted; expires
session:NAME   string  the last call of a session and its answer; expires after ten minutes
=============  ======  ==================================================================

What belongs to no shard stands under the namespace alone, in braces:

=============  ======  ==================================================================
key            type    what is in it
=============  ======  ==================================================================
queues         set     every queue that ever accepted a message or had a worker
schedules      hash    periodic actor -> its schedule (``lua/includes/schedule.lua``); expires 35 days after the
                       last scheduler
schedulers     zset    scheduler -> ms when it was last heard of; expires with the last
processes      hash    process -> what it last said of itself (JSON, ``lockstep.processes``); expires with the last
processes:seen zset    process -> ms when it was last heard of; expires with the last
control        hash    intake (on, off), since (ms), why, source (boot, run)
schema         hash    number (the newest schema set up here), oldest (that may still run), at (ms)
intake         string  there while the intake is off: since (ms) and why
idempotency:W  string  what was asked under W, that is ``key:`` or ``id:`` and a client's text; expires
limits         hash    the limits (``lua/includes/limits.lua``)
limits:log:I   list    ms of the last starts that an instance of a limit counts; expires
limits:hold:I  string  there while a limit is held; expires
limits:hints:I zset    actor that a limit refused -> ms when it comes back; expires
limits:running hash    instance of a limit -> how many run that it counts
=============  ======  ==================================================================

A ref names a group: ``g:`` and its key, or ``m:`` and the id of a message without a group, which is
a group of its own that has no list and vanishes with it.
"""

from dataclasses import dataclass
from functools import cached_property
from zlib import crc32


@dataclass(frozen=True)
class ShardKeys:
    """The keys of one shard of one queue."""

    namespace: str
    queue: str
    shard: int

    @cached_property
    def prefix(self) -> str:
        """What all keys of the shard begin with, the hash tag included."""
        return f"{{{self.namespace}:{self.queue}:{self.shard}}}:"

    @cached_property
    def meta(self) -> str:
        """What every script on the shard is given; it makes the names of the others from it."""
        return self.prefix + "meta"

    @cached_property
    def wake(self) -> str:
        """The list that idle consumers block on."""
        return self.prefix + "wake"

    @cached_property
    def outbox(self) -> str:
        """Follow-up messages that are not enqueued yet."""
        return self.prefix + "outbox"


def shard_of(group: str | None, message_id: str, shards: int) -> int:
    """The shard that a group, or a message without one, lives in for ever."""
    return 0 if shards == 1 else crc32((group or message_id).encode()) % shards


def global_key(namespace: str, name: str) -> str:
    """A key that belongs to no shard; those of a namespace share one hash tag."""
    return f"{{{namespace}}}:{name}"

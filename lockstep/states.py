"""The states of messages and groups, and the one table of how they change.

Edges of a message, each with the script that takes it:

=========  =========  ==========================
from       to         script
=========  =========  ==========================
(none)     waiting    enqueue, restore
(none)     scheduled  enqueue, with a delay; restore
(none)     backoff    enqueue, with a delay that holds its place; restore
(none)     dead       restore
waiting    backoff    claim, of a delayed head that holds its place
scheduled  waiting    claim and reap, when due; promote
waiting    running    claim
running    done       settle complete
running    cancelled  settle cancel; settle otherwise, and reap, once it was to be cancelled
running    backoff    settle retry, settle release with a delay
running    waiting    settle release, reap
running    dead       settle dead_letter, reap after MAX_CRASHES
waiting    dead       skip
backoff    dead       skip
dead       waiting    redrive
dead       scheduled  redrive, at a rate
dead       backoff    redrive at a rate, of one that blocks its group
backoff    waiting    claim and reap, when due; promote
scheduled  cancelled  cancel
waiting    cancelled  cancel
backoff    cancelled  cancel
scheduled  (none)     purge
waiting    (none)     purge
backoff    (none)     purge
=========  =========  ==========================
"""

from enum import StrEnum


class MessageState(StrEnum):
    """Where a message is; the scripts keep it in exactly one of these."""

    SCHEDULED = "scheduled"  #: accepted with a delay, joins its group when due
    WAITING = "waiting"  #: in its group, at its place
    RUNNING = "running"  #: the head of its group, under a lease
    BACKOFF = "backoff"  #: failed or parked; still the head, its group is blocked until due
    DONE = "done"  #: completed; its record is kept by age and count
    DEAD = "dead"  #: a dead letter
    CANCELLED = "cancelled"  #: taken back before it ended


class GroupState(StrEnum):
    """What a group waits for; a group without unfinished messages is absent, that is, has no key."""

    READY = "ready"  #: its head may be claimed
    LEASED = "leased"  #: its head is running
    BLOCKED = (
        "blocked"  #: its head is in backoff or waits for a limit, or a dead letter waits for an operator
    )
    PAUSED = "paused"  #: an operator stopped it


class Verb(StrEnum):
    """How a claim ends: what a settle does to the message."""

    COMPLETE = "complete"
    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    RELEASE = "release"
    CANCEL = "cancel"

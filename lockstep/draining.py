"""What is left to do in some queues, and what of it nobody will do by itself.

Reading only: whoever drains switches the intake off first, or the end never comes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lockstep import metrics
from lockstep.groups import GroupRecord, Groups
from lockstep.records import QueueCounts
from lockstep.states import MessageState
from lockstep.store import Store

#: States that a drain waits for.
LEFT = (MessageState.SCHEDULED, MessageState.WAITING, MessageState.RUNNING, MessageState.BACKOFF)


@dataclass(frozen=True, slots=True)
class QueueLeft:
    """What is left to do in one queue."""

    queue: str
    messages: dict[MessageState, int]  #: those of ``LEFT`` that are not 0
    hindrances: tuple[str, ...]  #: why some of it does not go on, whatever time passes

    @property
    def total(self) -> int:
        """How many messages."""
        return sum(self.messages.values())


def left_in(store: Store, names: Sequence[str], *, look: bool = True) -> list[QueueLeft]:
    """Return what is left in each of these queues, without those that are empty.

    Queues and their shards are read one after the other, and the next step of a pipeline may move from one that was
    not read yet to one that was. So they are all empty only if two looks in a row find nothing, and nothing was
    accepted from the first to the second.

    Raises:
      NotFound: there is no such queue.
    """
    accepted = -1
    while True:
        counts = [store.counts(name) for name in names]
        left = [one for one in (left_of(queue, store.groups, look=look) for queue in counts) if one.total]
        before, accepted = accepted, sum(map(_accepted, counts))
        if left or accepted == before:
            return left


def left_of(counts: QueueCounts, groups: Groups, *, look: bool = True) -> QueueLeft:
    """What is left in a queue; without ``look`` its hindrances are not looked for."""
    messages = {state: counts.messages[state] for state in LEFT if counts.messages.get(state)}
    hindrances = tuple(_hindrances(counts, groups)) if look and messages else ()
    return QueueLeft(counts.queue, messages, hindrances)


def holding_up(groups: Groups, queue: str, most: int) -> list[GroupRecord]:
    """Some groups for which a drain waits: first those that need an operator, then those that run or back off."""
    found = {record.head: record for record in groups.stuck(queue, most)}
    for record in groups.page(queue, limit=most).items:
        found.setdefault(record.head, record)
    return list(found.values())[:most]


def _accepted(counts: QueueCounts) -> int:
    """Return how many messages the queue has ever accepted."""
    return sum(number for name, number in counts.stats.items() if name.startswith(f"{metrics.ENQUEUED}|"))


def _hindrances(counts: QueueCounts, groups: Groups) -> Iterable[str]:
    if counts.paused:
        yield "the queue is paused"
    if not counts.claimers:
        yield "no worker claims from it"
    for record in groups.stuck(counts.queue, 3):
        name = f"group {record.group!r}" if record.group else f"message {record.head!r}"
        if record.why == "dead_letter":
            yield f"{name} waits for an operator, because of the dead letter {record.head!r}"
        elif record.why == "actor_paused":
            yield f"{name} waits, because actor {record.limit!r} is paused"
        else:
            yield f"{name} is paused"

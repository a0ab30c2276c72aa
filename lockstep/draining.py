"""What is left to do in some queues, and what of it nobody will do by itself.

Reading only: whoever drains switches the intake off first, or the end never comes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lockstep.groups import GroupRecord, Groups
from lockstep.records import QueueCounts
from lockstep.states import MessageState

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

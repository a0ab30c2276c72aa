"""What an operator may do to single messages: the scripts decide in which state that is possible.

Each call finds the message by its id, in whichever queue it is, and changes it in one script; saying it again is safe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lockstep.calls import Calls
from lockstep.deadletters import DeadLetters, Order, Redrive
from lockstep.errors import NotFound, WrongState
from lockstep.keys import ShardKeys
from lockstep.states import MessageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """What became of a message that an operator changed."""

    id: str
    queue: str
    actor: str
    state: MessageState  #: the one it is in now
    changed: bool  #: nothing was to be done: it had been done before
    cancel_requested: bool = False  #: it runs, and was asked to end


class Switches:
    """Cancels, promotes and retries messages."""

    def __init__(self, calls: Calls, dead: DeadLetters) -> None:
        self._calls = calls
        self._dead = dead

    def cancel(self, message_id: str) -> Switched:
        """Take a message back: at once unless it runs; then its actor is asked to end, and soon interrupted.

        Until a running one has ended, its group waits. If its worker dies meanwhile, it is cancelled.

        Raises:
          NotFound: no queue knows the id.
          WrongState: it is done or dead.
        """
        queue, state, actor, _ = self._run("cancel", message_id)
        if state in (MessageState.DONE, MessageState.DEAD):
            raise WrongState(message_id, state, "cancel")
        running = state is MessageState.RUNNING
        return Switched(
            id=message_id,
            queue=queue,
            actor=actor,
            state=MessageState.RUNNING if running else MessageState.CANCELLED,
            changed=state is not MessageState.CANCELLED,
            cancel_requested=running,
        )

    def promote(self, message_id: str) -> Switched:
        """Let a message go on that waits for its time: scheduled, in back-off, or holding its place.

        A scheduled one joins the tail of its group; the others are at their places already. One that waits for
        nothing but its turn stays as it is.

        Raises:
          NotFound: no queue knows the id.
          WrongState: it runs or has ended.
        """
        return self._promote(message_id, "promote", (MessageState.SCHEDULED, MessageState.BACKOFF))

    def retry(self, message_id: str, order: Order = "tail") -> Switched:
        """Try a message again now: one whose back-off lasts at its place, a dead letter at an end of its group.

        Raises:
          NotFound: no queue knows the id.
          WrongState: it is scheduled, runs, is done or cancelled: send that again.
        """
        switched = self._promote(message_id, "retry", (MessageState.BACKOFF, MessageState.DEAD))
        if switched.state is not MessageState.DEAD:
            return switched
        # If the process dies here, it is still dead; if somebody else redrove it since, nothing is left to do.
        changed = self._dead.redrive([message_id], Redrive(order=order)).changed > 0
        return replace(switched, state=MessageState.WAITING, changed=changed)

    def _promote(self, message_id: str, asked: str, accepted: tuple[MessageState, ...]) -> Switched:
        arguments = [int(MessageState.SCHEDULED in accepted)]
        queue, state, actor, rest = self._run("promote", message_id, arguments, session=True)
        if state not in (*accepted, MessageState.WAITING):
            raise WrongState(message_id, state, asked)
        now = state if state is MessageState.DEAD else MessageState.WAITING
        return Switched(id=message_id, queue=queue, actor=actor, state=now, changed=rest == [1])

    def _run(
        self, script: str, message_id: str, arguments: Sequence[Any] = (), *, session: bool = False
    ) -> tuple[str, MessageState, str, list[Any]]:
        """Queue, state before, actor, and what else the script answers."""
        for queue, shard in self._places():
            reply = self._calls.run(script, shard, [message_id, *arguments], session=session)
            if reply is not None:
                return queue, MessageState(reply[0].decode()), reply[1].decode(), reply[2:]
        raise NotFound("message", message_id)

    def _places(self) -> list[tuple[str, ShardKeys]]:
        return [(queue, shard) for queue in self._calls.queues() for shard in self._calls.shards(queue)]

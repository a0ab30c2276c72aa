"""What an operator may do to single messages: the scripts decide in which state that is possible.

Each call finds the message by its id, in whichever queue it is, and changes it in one script; saying it again is safe.
"""

from dataclasses import dataclass

from lockstep.calls import Calls
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
    """Cancels messages."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def cancel(self, message_id: str) -> Switched:
        """Take a message back: at once unless it runs; then its actor is asked to end, and soon interrupted.

        Until a running one has ended, its group waits. If its worker dies meanwhile, it is cancelled.

        Raises:
          NotFound: no queue knows the id.
          WrongState: it is done or dead.
        """
        for queue, shard in self._places():
            reply = self._calls.run("cancel", shard, [message_id])
            if reply is not None:
                state, actor = MessageState(reply[0].decode()), reply[1].decode()
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
        raise NotFound("message", message_id)

    def _places(self) -> list[tuple[str, ShardKeys]]:
        return [(queue, shard) for queue in self._calls.queues() for shard in self._calls.shards(queue)]

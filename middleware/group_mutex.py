"""The mutex of a group: an actor runs only while its message holds the lease of its group.

There is no lock beside the lease, so there is nothing to ask Redis here: the local deadline decides, and when Redis
is away it runs out. It fails closed: whatever goes wrong here, the actor does not run.
"""

from typing import Any, Final

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware, SkipMessage

from lockstep.claimed import ClaimedMessage
from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.states import Verb

#: Milliseconds that a message rests whose start could not be announced: claimed at once, it would fail at once.
UNANSWERED_MS: Final = 1000


class GroupMutex(Middleware):
    """Refuses a message whose lease does not hold, and marks when the actor's thread may be interrupted."""

    @property
    def actor_options(self) -> set[str]:
        """``group`` and ``group_by`` decide at enqueue which group a message joins."""
        return {"group", "group_by"}

    def before_process_message(self, broker: Any, message: MessageProxy) -> None:
        """Let the actor run under its lease, or put the message back at its place."""
        if not isinstance(message, ClaimedMessage):
            raise SkipMessage("the message was not claimed")
        # If the process dies here, the lease ends and the message is next in its group.
        may_start = not broker.stopping and message.holds()
        delay_ms = 0
        if may_start:
            try:
                may_start = self._announce(broker, message)
            except (RedisUnavailable, ScriptFailed):
                may_start, delay_ms = False, UNANSWERED_MS
        if not may_start or not message.enter_thread():
            message.settle(
                Verb.RELEASE, delay_ms=delay_ms
            )  # one that was cancelled is so now: its lease knows
            raise SkipMessage("not started: the lease does not hold, it was cancelled, or the process stops")

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """The actor has ended: an interrupt would hit the next message."""
        message.leave_thread()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """Another middleware refused the message after this one."""
        message.leave_thread()

    def _announce(self, broker: Any, message: ClaimedMessage) -> bool:
        """A suspect, one crash short of its last, says that it starts; so others are not blamed for its crash."""
        crashes = message.lease.crashes
        if not crashes or crashes < broker.settings.max_crashes - 1:
            return True
        return bool(broker.store.start(message.exchange.shard, message.lease.ref, message.lease.token))

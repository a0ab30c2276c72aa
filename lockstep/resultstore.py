"""Finds out what became of a message: its result, or how it ended without one.

Only a caller that asks for a result pays for it: nothing is written while messages run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lockstep.calls import Calls
from lockstep.keys import ShardKeys

#: Repeats whose first message is remembered in this process, and as many later steps of pipelines.
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of a message that a caller waits for."""

    state: str  #: its state, or ``removed`` when it was purged or discarded
    result: bytes | None  #: encoded; None: there is none, not yet or not any more
    reason: str  #: why it is dead or was removed
    error: str  #: class of the error that it died of
    message: str  #: text of that error


class Step(NamedTuple):
    """A step of a pipeline that another step follows."""

    queue_name: str
    message_id: str
    group: str | None  #: None: it has none, or none that is known before it is enqueued


class ResultStore:
    """Reads results; a part of the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._repeats: dict[str, str] = {}
        self._steps: dict[str, Step] = {}

    def note_repeat(self, message_id: str, first_id: str) -> None:
        """Remember in this process that a message was a repeat of another, which has the result."""
        self._remember(self._repeats, message_id, first_id)

    def first_of(self, message_id: str) -> str | None:
        """Return the id of the message that this one was a repeat of, as far as this process knows."""
        return self._repeats.get(message_id)

    def note_steps(self, queue_name: str, message_id: str, options: Mapping[str, Any]) -> None:
        """Remember in this process, for each later step of a pipeline, the step that it follows."""
        while isinstance(target := options.get("pipe_target"), Mapping):
            step = Step(queue_name, message_id, options.get("group"))
            queue_name, options = target["queue_name"], target["options"]
            message_id = str(options.get("message_id") or target.get("message_id") or "")
            if not message_id:  # it gets one when it is sent, which nobody can ask for
                return
            self._remember(self._steps, message_id, step)

    def step_before(self, message_id: str) -> Step | None:
        """Return the step of a pipeline that a message follows, as far as this process knows."""
        return self._steps.get(message_id)

    def _remember(self, known: dict[str, Any], name: str, value: Any) -> None:
        if len(known) >= _MOST:
            for old in list(known)[: _MOST // 2]:  # a list: other threads may send and change it meanwhile
                known.pop(old, None)
        known[name] = value

    def first_by_key(self, idempotency_key: str) -> str | None:
        """Return the id of the message that an idempotency key stands for; None if no message has the key."""
        record = self._calls.global_key(f"idempotency:key:{idempotency_key}")
        found = self._calls.run_on("asked", (record,), ())
        return None if found is None else bytes(found).decode()

    def candidates(self, queue_name: str, group: str | None, message_id: str) -> list[ShardKeys]:
        """Return the shards that may know a message, the likeliest first.

        A message that its caller holds may name another group than the stored one, or none: a group that
        ``group_by`` computes is known only once the message was enqueued.
        """
        likely = self._calls.shard_of(queue_name, group, message_id)
        return [likely, *(shard for shard in self._calls.shards(queue_name) if shard != likely)]

    def owes(self, shard: ShardKeys) -> bool:
        """Return whether follow-up messages of a shard are still to be enqueued."""
        return bool(self._calls.command("ZCARD", shard.outbox))

    def read(self, shard: ShardKeys, message_id: str) -> Ending | None:
        """Return what a shard knows of a message; None if it does not know the id."""
        reply = self._calls.run("outcome", shard, [message_id])
        if reply is None:
            return None
        state, result, *texts = reply
        reason, error, message = (text.decode("utf-8", "replace") for text in texts)
        return Ending(state.decode(), result, reason, error, message)

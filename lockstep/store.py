"""Everything that Lockstep does to Redis: one typed method for each script, the rarer ones in parts of their own.

``Store`` has what every message needs. Raises and threads: see ``Calls``.
"""

from collections import Counter
from collections.abc import Sequence

from lockstep import replies, scripts
from lockstep.backup import Export, Import
from lockstep.calls import Calls
from lockstep.deadletters import DeadLetters
from lockstep.errors import NotFound
from lockstep.fsck import Fsck
from lockstep.groups import Groups
from lockstep.intake import Intake
from lockstep.keys import ShardKeys
from lockstep.limitstore import LimitStore
from lockstep.link import Call, Link
from lockstep.listing import Listing
from lockstep.outbox import Outbox
from lockstep.processes import Processes
from lockstep.purging import Purges
from lockstep.records import Accepted, MessageRecord, NewMessage, QueueCounts, Reaped, Renewal
from lockstep.resultstore import ResultStore
from lockstep.retention import Retention
from lockstep.scaling import Scaling
from lockstep.schedules import Schedules
from lockstep.schema import Schema
from lockstep.sending import Sending
from lockstep.server import Server
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.survey import Survey
from lockstep.switches import Switches

#: How far into its group a message's position is counted.
POSITION_LIMIT = 1000

#: Leases and due messages that one reap handles.
REAP_BATCH = 200


class Store(Calls):
    """The state of all queues of a namespace."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sending = Sending(self)
        self.outbox = Outbox(self, self.sending)
        self.intake = Intake(self)
        self.schema = Schema(self)
        self.server = Server(self)
        self.schedules = Schedules(self)
        self.processes = Processes(self)
        self.limits = LimitStore(self)
        self.dead = DeadLetters(self)
        self.switches = Switches(self, self.dead)
        self.purges = Purges(self)
        self.survey = Survey(self)
        self.scaling = Scaling(self)
        self.groups = Groups(self, self.survey)
        self.fsck = Fsck(self)
        self.listing = Listing(self)
        self.retention = Retention(self)
        self.results = ResultStore(self)

    @classmethod
    def connect(cls, settings: Settings) -> "Store":
        """A store that connects when it is first used."""
        return cls(settings)

    # -- sending ------------------------------------------------------------------------------------------------

    def declare(self, queue_name: str) -> None:
        """Note that a queue exists, so that it can be listed."""
        self.sending.declare(queue_name)

    def enqueue(self, queue_name: str, messages: Sequence[NewMessage]) -> list[Accepted]:
        """Accept messages of one queue: see ``Sending.enqueue``."""
        return self.sending.enqueue([(queue_name, message) for message in messages])

    # -- backup -------------------------------------------------------------------------------------------------

    def export(self, queue_name: str | None = None, state: MessageState | None = None) -> Export:
        """What writes everything that is unfinished or dead as lines.

        Follow-up messages that are still in an outbox are enqueued first, so that they are in the export. Arrivals at
        the barriers of Dramatiq groups are not: ``Export.left`` counts them.

        Raises:
          NotFound: there is no such queue.
        """
        left = self.outbox.flush(shard for name in self.queues() for shard in self.shards(name))
        return Export(self, queue_name, state, left=left)

    def importer(self) -> Import:
        """What puts the messages of an export back."""
        return Import(self, self.sending.list_queue)

    # -- keeping order ------------------------------------------------------------------------------------------

    def extend(self, link: Link, shard: ShardKeys, tokens: Sequence[tuple[str, str]]) -> list[Renewal]:
        """Renew leases, given as ref and token, over the caller's own link; answers for each whether it holds."""
        arguments = [self.settings.lease_ms, *(part for pair in tokens for part in pair)]
        calls: list[Call] = [(scripts.load("extend"), (shard.meta,), arguments)]
        return [Renewal(answer) for answer in link.run(lambda: calls)[0]]

    def start(self, shard: ShardKeys, ref: str, token: str) -> int:
        """Say that a message starts now: a suspect, or one that a limit counts.

        Answers the milliseconds within which it must start; 0: it may not, it has to be claimed again.
        """
        return int(self.run("start", shard, [ref, token], keys=[self.limits.key]))

    def reap(self, shard: ShardKeys, *, claimer: str = "") -> Reaped:
        """Take back leases that ended without a settle, at most ``REAP_BATCH``; let what is due go on."""
        settings = self.settings
        gap_ms = int(max(settings.lease_ms / 3, settings.reap_seconds * 2500))
        age_ms = int(settings.retention_done_age * 1000)
        dead_ms = int(settings.retention_dead_age * 1000)
        arguments = [claimer, settings.lease_ms, gap_ms, settings.max_crashes, REAP_BATCH, age_ms, dead_ms]
        arguments.append(settings.retention_done_count)
        reaped = replies.reaped(self.run("reap", shard, arguments, keys=[self.limits.key]))
        if reaped.new:  # a queue is listed again soon after Redis lost its data: its workers come back first
            self.sending.list_queue(shard.queue)
        return reaped

    def leave(self, shard: ShardKeys, claimer: str, sessions: Sequence[str]) -> None:
        """Say that a claimer stopped in order and holds nothing."""
        self.run("leave", shard, [claimer, *sessions])

    # -- operators' switches -----------------------------------------------------------------------------------

    def pause(self, queue_name: str, group: str | None = None) -> bool:
        """Claim nothing more of a queue, or of one group of it, until ``resume``; answers whether that is new.

        What runs goes on to its end; what is sent is accepted. Within the time of one claim it holds everywhere.

        Raises:
          NotFound: there is no such queue.
        """
        return self._switch("pause", queue_name, group)

    def resume(self, queue_name: str, group: str | None = None) -> bool:
        """Claim again what ``pause`` stopped, each message at its place; answers whether it was paused.

        Raises:
          NotFound: there is no such queue.
        """
        return self._switch("resume", queue_name, group)

    def _switch(self, script: str, queue_name: str, group: str | None) -> bool:
        self.check_queue(queue_name)
        shards, ref = self.shards(queue_name), ""
        if group is not None:
            shards, ref = [self.shard_of(queue_name, group, "")], f"g:{group}"
        # If the process dies between two shards, saying it again does the rest.
        changed = [self.run(script, shard, [ref]) == 1 for shard in shards]
        return any(changed)

    # -- looking ------------------------------------------------------------------------------------------------

    def message(self, message_id: str) -> MessageRecord:
        """Everything about one message.

        Raises:
          NotFound: no queue knows the id, or its record has expired.
        """
        for queue_name in self.queues():
            for shard in self.shards(queue_name):
                reply = self.run("inspect", shard, [message_id, POSITION_LIMIT])
                if reply is not None:
                    return replies.message_record(message_id, queue_name, reply)
        raise NotFound("message", message_id)

    def counts(self, queue_name: str) -> QueueCounts:
        """One queue in numbers, in constant time.

        Raises:
          NotFound: there is no such queue.
        """
        self.check_queue(queue_name)
        return replies.queue_counts(
            queue_name, [self.run("counts", shard, []) for shard in self.shards(queue_name)]
        )

    def ping(self) -> None:
        """Return when Redis answers."""
        self.command("PING")

    def now_ms(self) -> int:
        """The server's clock, milliseconds since 1970."""
        seconds, microseconds = self.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def redis_memory(self) -> int:
        """Bytes that Redis uses."""
        return self.sending.memory.read()[0]

    def count(self, queue_name: str, counters: Counter[str]) -> None:
        """Add to a queue's statistics."""
        arguments = [0, "0", len(counters), *(part for pair in counters.items() for part in pair)]
        self.run("settle", self.shards(queue_name)[0], arguments, keys=[self.limits.key], session=True)

"""A history as messages, runs and faults: what the checks look at."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from tests.history.events import Ending, Event, FaultKind, Kind

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The times that a history is held to, in seconds."""

    lease: float = 3.0
    settle: float = 1.0  #: from the end of a run until its settle is in Redis, at most
    drain: float = 60.0  #: from the last fault or send until everything is drained
    resume: float = 1.0  #: from the end of a fault until its last consequence shows
    holdup: float = 0.6  #: share of a lease that a pause or cut must last to cost a worker its lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that was broken on purpose."""

    name: str
    kind: FaultKind
    pids: tuple[int, ...]
    since: int
    until: int

    def touches(self, since: float, until: float, slack: float = 0.0) -> bool:
        """Whether the fault, or ``slack`` seconds after it, meets an interval."""
        return self.since <= until and since <= self.until + slack * SECOND


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution of an actor for a message."""

    id: str
    message: str
    group: str | None
    sequence: int | None
    fence: int | None
    attempt: int | None
    pid: int
    started: int
    ended: float = inf
    ending: Ending = Ending.OPEN
    retry_ms: int = 0
    effects: list[Event] = field(default_factory=list)

    @property
    def rank(self) -> tuple[int, int]:
        """Later claims rank higher, even when they start earlier."""
        return (self.fence or 0, self.started)


@dataclass(slots=True, kw_only=True)
class Message:
    """Everything that a history tells about one message."""

    id: str
    sent: list[Event] = field(default_factory=list)
    accepted: list[Event] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)  #: by time of start
    finals: list[Event] = field(default_factory=list)

    @property
    def sequence(self) -> int | None:
        """Its place: as accepted, else (it was delayed, or the answer was lost) as its first run had it."""
        given = [event.sequence for event in self.accepted] + [run.sequence for run in self.runs[:1]]
        return next((sequence for sequence in given if sequence is not None), None)

    @property
    def final(self) -> str | None:
        """Its last known state."""
        return self.finals[-1].outcome if self.finals else None

    @property
    def ended(self) -> float:
        """When its authoritative run ended; never, as long as the store does not call it finished."""
        if self.final not in FINISHED or not self.runs:
            return inf
        return max(self.runs, key=lambda run: run.rank).ended


FINISHED = frozenset({"done", "dead", "cancelled"})


class History:
    """The events of one experiment, joined."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = sorted(events, key=lambda event: event.at)

    def of(self, kind: Kind) -> list[Event]:
        """The events of one kind, by time."""
        return [event for event in self.events if event.event is kind]

    @cached_property
    def faults(self) -> list[Fault]:
        """What was broken, by time."""
        return [
            Fault(name=e.name, kind=FaultKind(e.fault), pids=e.pids, since=e.at, until=e.until or e.at)
            for e in self.of(Kind.FAULT)
        ]

    @cached_property
    def deaths(self) -> dict[int, int]:
        """When each process that died in the middle of something did, at the latest."""
        moments = [
            (pid, fault.since) for fault in self.faults if fault.kind is FaultKind.KILL for pid in fault.pids
        ]
        moments += [(event.pid, event.at) for event in self.of(Kind.GONE)]
        moments += [(event.pid, event.at) for event in self.of(Kind.END) if event.outcome == Ending.CRASHED]
        deaths: dict[int, int] = {}
        for pid, moment in moments:
            deaths[pid] = min(moment, deaths.get(pid, moment))
        return deaths

    @cached_property
    def runs(self) -> list[Run]:
        """Every run, by time of start."""
        runs = {
            e.run: Run(
                id=e.run,
                message=e.message,
                group=e.group,
                sequence=e.sequence,
                fence=e.fence,
                attempt=e.attempt,
                pid=e.pid,
                started=e.at,
            )
            for e in self.of(Kind.START)
        }
        for event in self.of(Kind.EFFECT):
            runs[event.run].effects.append(event)
        for event in self.of(Kind.END):
            run = runs[event.run]
            run.ended, run.ending, run.retry_ms = event.at, Ending(event.outcome), event.retry_ms
        for run in runs.values():
            if run.ending is Ending.OPEN and run.pid in self.deaths:
                run.ended, run.ending = max(self.deaths[run.pid], run.started), Ending.CUT
        return list(runs.values())

    @cached_property
    def messages(self) -> dict[str, Message]:
        """Every message that anything is known about."""
        messages: dict[str, Message] = {}
        for event in self.events:
            if event.event in {Kind.SENT, Kind.ACCEPTED, Kind.FINAL}:
                message = messages.setdefault(event.message, Message(id=event.message))
                {Kind.SENT: message.sent, Kind.ACCEPTED: message.accepted, Kind.FINAL: message.finals}[
                    event.event
                ].append(event)
        for run in self.runs:
            messages.setdefault(run.message, Message(id=run.message)).runs.append(run)
        return messages

    @cached_property
    def groups(self) -> dict[str, list[Run]]:
        """The runs of each group, by time of start; messages without a group have no order to check."""
        groups: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            if run.group is not None:
                groups[run.group].append(run)
        return dict(groups)

    def extra_runs(self) -> int:
        """Runs beyond the first of each message."""
        return sum(max(0, len(message.runs) - 1) for message in self.messages.values())

    def recoveries(self) -> dict[str, float]:
        """For each message whose run was cut off: seconds until it ran again."""
        seconds: dict[str, float] = {}
        for message in self.messages.values():
            for run, again in zip(message.runs, message.runs[1:], strict=False):
                if run.ending in {Ending.CUT, Ending.CRASHED}:
                    seconds[message.id] = max(
                        seconds.get(message.id, 0), (again.started - run.ended) / SECOND
                    )
        return seconds

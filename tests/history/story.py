"""Histories made by hand, in milliseconds, for the tests of the checker."""

from dataclasses import dataclass, field
from typing import Any, Self

from tests.history.checker import Verdict, check
from tests.history.events import Ending, Event, FaultKind, Kind, Write
from tests.history.history import Bounds

MS = 1_000_000


@dataclass
class Story:
    """Adds events; every method returns the story, so that it reads as one."""

    events: list[Event] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    groups: dict[str, str | None] = field(default_factory=dict)
    runs: int = 0

    def add(self, kind: Kind, at: float, **fields: Any) -> Self:
        """Any event."""
        pid = fields.pop("pid", 1)
        self.events.append(Event(event=kind, at=round(at * MS), pid=pid, **fields))
        return self

    def send(self, *ids: str, group: str | None = "g", at: float = 0, **fields: Any) -> Self:
        """Send messages of a group and get the next sequences for them."""
        for id_ in ids:
            self.groups[id_] = group
            self.sequences[id_] = fields.pop("sequence", len(self.sequences) + 1)
            moment = at + self.sequences[id_] / 100
            common = {"message": id_, "group": group, "producer": fields.get("producer", "p")}
            self.add(Kind.SENT, moment, delay_ms=fields.get("delay_ms", 0), **common)
            if fields.get("answered", True):
                sequence, duplicate = self.sequences[id_], fields.get("duplicate", False)
                self.add(Kind.ACCEPTED, moment + 0.005, sequence=sequence, duplicate=duplicate, **common)
        return self

    def run(
        self, id_: str, fence: int | None, since: float, until: float | None = None, **fields: Any
    ) -> Self:
        """Run a message from ``since`` to ``until``; without an end its process must be killed."""
        self.runs += 1
        pid = fields.get("pid", 1)
        common = {"message": id_, "group": fields.get("group", self.groups.get(id_)), "fence": fence}
        common |= {
            "run": f"r{self.runs}",
            "sequence": fields.get("sequence", self.sequences.get(id_)),
            "pid": pid,
        }
        self.add(Kind.START, since, **common)
        for write, moment in fields.get("effects", {}).items():
            self.add(Kind.EFFECT, moment, outcome=Write(write.rstrip("+")), **common)
        if until is not None:
            ending, retry_ms = fields.get("ending", Ending.DONE), fields.get("retry_ms", 0)
            self.add(Kind.END, until, outcome=ending, retry_ms=retry_ms, **common)
        return self

    def fault(self, kind: FaultKind, since: float, until: float, *pids: int, name: str = "fault") -> Self:
        """Break something."""
        return self.add(Kind.FAULT, since, fault=kind, until=round(until * MS), pids=pids, name=name)

    def final(self, id_: str, state: str, at: float = 100_000, **fields: Any) -> Self:
        """Let the store say where a message is."""
        known = {"group": self.groups.get(id_), "sequence": self.sequences.get(id_)}
        return self.add(Kind.FINAL, at, message=id_, outcome=state, **{**known, **fields})

    def done(self, *ids: str, at: float = 10_000, completed: int | None = None) -> Self:
        """Let everything be drained, and the messages (all, unless some are named) done."""
        for id_ in ids or self.sequences:
            self.final(id_, "done", at)
        return self.add(Kind.DRAINED, at, completed=completed)

    def verdict(self, **bounds: float) -> Verdict:
        """What the checker says."""
        return check(self.events, Bounds(**bounds))

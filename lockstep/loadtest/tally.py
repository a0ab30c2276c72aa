"""What happened so far: written by those who send and look, read by the view."""

from collections import Counter
from dataclasses import dataclass, field

from lockstep.loadtest.latencies import Latencies


@dataclass(slots=True)
class Tally:
    """Counters of one run. ``accepted`` is by group: all its messages below that number are in Redis."""

    groups: int
    elapsed: float = 0.0  #: seconds of sending
    sent: int = 0  #: messages whose first request was sent
    late: int = 0  #: of these, more than ``LATE_SECONDS`` after they should have been
    latest: float = 0.0  #: seconds that the worst of them was late
    replayed: int = 0  #: accepted by a request whose answer was lost
    refused: Counter[str] = field(default_factory=Counter)  #: by status; they asked to come again
    failed: Counter[str] = field(default_factory=Counter)  #: by status, or by what came instead of an answer
    response: Latencies = field(
        default_factory=Latencies
    )  #: from when a message should have been sent to its acceptance
    request: Latencies = field(default_factory=Latencies)  #: of single requests that were answered
    wait: Latencies = field(default_factory=Latencies)  #: from acceptance to the first start
    latency: Latencies = field(default_factory=Latencies)  #: from acceptance to the end
    queue: str = ""  #: that the messages go to; empty until the first is accepted
    done: int | None = None  #: attempts of that queue that were done since the start, by whomever
    backlog: int | None = None  #: messages of that queue that are not finished
    unanswered: set[int] = field(
        default_factory=set
    )  #: groups whose next message was sent, but never with a yes
    accepted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.accepted = [0] * self.groups

    @property
    def accepted_total(self) -> int:
        """Messages that are in Redis, as far as is known."""
        return sum(self.accepted)

    @property
    def rate(self) -> float:
        """Messages accepted a second."""
        return self.accepted_total / self.elapsed if self.elapsed else 0.0

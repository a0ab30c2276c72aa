"""What a load test sends, and when: message by message computed, so that a long one takes no more memory."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: The actor that is sent unless another is named; it exists where LOADTEST_ACTOR is true.
ACTOR: Final = "lockstep.loadtest"

#: Seconds that records are kept beyond sending and draining, so that they can be read.
_READING_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Messages at a fixed rate, in turn over the groups, each group's with numbers that rise by one."""

    rate: float  #: messages a second, over all groups
    groups: int
    duration: float  #: seconds of sending
    timeout: float  #: seconds in which all must be done afterwards
    actor: str = ACTOR
    kwargs: Mapping[str, Any] | None = None  #: None: what the actor ``lockstep.loadtest`` takes
    seconds: float = 0.0  #: that each message of that actor takes
    run: str = field(
        default_factory=lambda: secrets.token_hex(5)
    )  #: part of ids and groups, so that runs do not meet

    @property
    def total(self) -> int:
        """Messages of the whole run."""
        return max(1, int(self.rate * self.duration))

    def has(self, group: int, number: int) -> bool:
        """Whether the run has such a message."""
        return number * self.groups + group < self.total

    def due(self, group: int, number: int) -> float:
        """Seconds after the start at which a message should be sent."""
        return (number * self.groups + group) / self.rate

    def message_id(self, group: int, number: int) -> str:
        """The id of a message; a repeat carries the same."""
        return f"loadtest-{self.run}-{group}-{number}"

    def group_key(self, group: int) -> str:
        """The key of a group."""
        return f"loadtest-{self.run}-{group}"

    def request(self, group: int, number: int) -> dict[str, Any]:
        """The body of the request that sends a message."""
        kwargs = {"number": number, "seconds": self.seconds} if self.kwargs is None else self.kwargs
        return {
            "actor": self.actor,
            "group": self.group_key(group),
            "id": self.message_id(group, number),
            "kwargs": kwargs,
            "retention": int((self.duration + self.timeout + _READING_SECONDS) * 1000),
        }

"""What a check found, and what became of it."""

from dataclasses import dataclass, field
from typing import Any, Final

#: What can be wrong, in the order in which it is mended: what is done is known before what would run again.
ORDER: Final = (
    "done",
    "scheduled",
    "message",
    "letter",
    "kind",
    "group",
    "waiter",
    "lane",
    "word",
    "unique",
    "token",
    "count",
    "running",
    "follow_up",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that contradicts the rest of what is stored."""

    queue: str  #: '' of a count over all queues
    shard: int  #: -1 of a count over all queues
    what: str  #: one of ``ORDER``
    name: bytes  #: an id, a ref, a kind, a lane, …
    where: bytes  #: the list that it was seen in; b'' in none
    fault: str
    right: str = ""  #: of a count: what it should be

    def view(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "queue": self.queue or None,
            "what": self.what,
            "name": self.name.decode("utf-8", "backslashreplace"),
            "where": self.where.decode("utf-8", "backslashreplace") or None,
            "fault": self.fault,
        }

    @property
    def rank(self) -> int:
        """When it is mended, the lowest first."""
        return ORDER.index(self.what)


@dataclass(slots=True)
class Report:
    """What a check looked at, found, and mended."""

    checked: int = 0  #: things that were looked at
    found: list[Finding] = field(default_factory=list)
    repaired: list[Finding] = field(
        default_factory=list
    )  #: may hold more than was found: one fault can hide another
    left: list[Finding] = field(default_factory=list)  #: what is wrong at the end
    unchecked: list[str] = field(default_factory=list)  #: what could not be checked

    def view(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "checked": self.checked,
            "found": [one.view() for one in self.found],
            "repaired": [one.view() for one in self.repaired],
            "left": [one.view() for one in self.left],
            "unchecked": self.unchecked,
        }

"""Which queues a worker takes: by its role, or by name.

``WORKER_QUEUES`` names queues and wins. Else ``WORKER_ROLE`` stands for some: three roles have the queue of their name,
``messages`` has every queue that belongs to none of them, those of one's own actors too, and ``all`` has every queue,
but for e-mail where ``START_EMAIL_WORKER`` is false.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lockstep.settings import Settings


class Role(StrEnum):
    """What a worker is for."""

    ALL = "all"
    MESSAGES = "messages"
    EMAIL = "email"
    NOTIFICATION = "notification"
    BROADCAST = "broadcast"


#: The one table of queues and roles: whose queue it is. Every queue that is not here belongs to ``messages``.
OWNERS: Final = {
    "email": Role.EMAIL,
    "notification": Role.NOTIFICATION,
    "broadcast": Role.BROADCAST,
}


def owner_of(queue: str) -> Role:
    """The role that a queue belongs to; ``all`` takes it as well."""
    return OWNERS.get(queue, Role.MESSAGES)


@dataclass(frozen=True)
class Choice:
    """The queues that one worker takes, those that are declared later included.

    It can stand for the set of names that Dramatiq's worker keeps (its ``consumer_whitelist``): that is asked for each
    queue when it is declared, whenever that is, and never listed.
    """

    role: Role = Role.ALL
    named: frozenset[str] = (
        frozenset()
    )  #: by WORKER_QUEUES, or on Dramatiq's command line; none: the role decides
    email: bool = True  #: whether ``all`` has e-mail

    @classmethod
    def of(cls, settings: "Settings") -> "Choice":
        """What the settings say."""
        named = frozenset(settings.worker_queues)
        return cls(Role(settings.worker_role), named, settings.start_email_worker)

    def __contains__(self, queue: object) -> bool:
        """Whether the worker takes a queue."""
        if not isinstance(queue, str):
            return False
        if self.named:
            return queue in self.named
        owner = owner_of(queue)
        if self.role is Role.ALL:
            return self.email or owner is not Role.EMAIL
        return owner is self.role

    def among(self, declared: Iterable[str]) -> list[str]:
        """Those of the declared queues that the worker takes, sorted."""
        return sorted(queue for queue in declared if queue in self)

    @property
    def names(self) -> list[str]:
        """The queues that the choice names itself, sorted; none when it says which it leaves out."""
        return sorted(self.named) or sorted(queue for queue, owner in OWNERS.items() if owner is self.role)

    def __str__(self) -> str:
        return f"queues {', '.join(sorted(self.named))}" if self.named else f"role {self.role}"

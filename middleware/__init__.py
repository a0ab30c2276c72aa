"""What happens around each message: one ordered list, with its reason.

``before_`` hooks run from the first to the last, ``after_`` hooks from the last to the first.
"""

from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    CurrentMessage,
    Middleware,
    Pipelines,
    ShutdownNotifications,
    TimeLimit,
)
from dramatiq.results import Results

from lockstep.broker import LockstepBroker
from lockstep.results import StoreResults
from lockstep.settings import Settings
from lockstep.store import Store
from middleware.async_actors import AsyncIO
from middleware.dead_letters import DeadLetters
from middleware.dramatiq_metrics import DramatiqMetrics
from middleware.follow_ups import FollowUps
from middleware.group_mutex import GroupMutex
from middleware.lifecycle import Lifecycle
from middleware.log_context import LogContext
from middleware.outcome import Outcome
from middleware.periodic import Periodic
from middleware.rate_limits import RateLimits
from middleware.schema_guard import SchemaGuard


def default(settings: Settings, store: Store) -> list[Middleware]:
    """The middleware of a Lockstep broker."""
    own: list[Middleware] = [DramatiqMetrics()] if settings.dramatiq_metrics else []
    return [
        *own,  # its after hook runs last: the outcome is decided, and no other hook's time is left out
        Lifecycle(settings),  # signals, lease renewal and reaping stand before anything runs
        SchemaGuard(),  # a release that is too old for the data ends before it claims
        LogContext(),  # every line below carries the message
        DeadLetters(),  # its after hook is the last that sees the message: what the outcome decided stands
        FollowUps(),  # its after hook builds what the outcome sends; if that is refused, the message is dead
        Outcome(settings),  # its after hook runs after those below and sees whether one of them failed
        RateLimits(
            settings
        ),  # what a limit counts starts now, or goes back before it holds its group's thread
        GroupMutex(),  # refuses to run without a lease: nothing of the actor's has happened yet
        CurrentMessage(),
        AgeLimit(),
        TimeLimit(interval=250),
        ShutdownNotifications(),
        AsyncIO(),
        Results(backend=StoreResults(store)),
        Callbacks(),  # these two are here for their options and places: FollowUps sends what they would send
        Pipelines(),
        Periodic(),  # checks what actors declare, for `lockstep scheduler` and for periodiq's own command
    ]


def make_broker(settings: Settings) -> LockstepBroker:
    """A broker with this middleware; it connects when it is first used."""
    return LockstepBroker(settings)


__all__ = [
    "DeadLetters",
    "DramatiqMetrics",
    "FollowUps",
    "GroupMutex",
    "Lifecycle",
    "LogContext",
    "Outcome",
    "RateLimits",
    "SchemaGuard",
    "default",
    "make_broker",
]

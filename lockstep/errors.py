"""Every error that Lockstep raises, as one tree, and what each means to a caller outside.

LockstepError
 ├─ InvalidSettings            a setting is missing or wrong: the process does not start
 ├─ Shadowed                   another module is found under the name of one of our packages: nothing starts
 ├─ ImportFailed               the actors cannot be imported: nothing starts
 ├─ InvalidOption              an actor has an option that could never work: it is not declared
 ├─ InvalidMessage             a message was refused and nothing was written
 │   ├─ UnknownActor           no actor of that name is registered here
 │   ├─ PayloadTooLarge        the encoded message exceeds MAX_PAYLOAD_BYTES
 │   └─ IdempotencyConflict    something else was asked under the same key or id
 ├─ NotAccepted                not now: nothing was written, the same may be accepted later
 │   ├─ IntakeOff              an operator stopped the intake
 │   ├─ QueueFull              the queue has MAX_QUEUE_LENGTH unfinished messages
 │   └─ MemoryLow              Redis is near its memory limit
 ├─ NotFound                   no such message or queue
 ├─ WrongState                 the message is in a state in which this cannot be done to it
 │   └─ GroupEmpty             a group has no message that waits
 ├─ SchemaTooNew               the data in Redis are for newer releases: this one does not start
 ├─ Unauthorized               no API key, or one that is not known
 ├─ Forbidden                  the API key lacks the scope
 ├─ RedisUnavailable           Redis did not answer; also a Dramatiq and a builtin ConnectionError
 ├─ SupervisorAway             supervisord does not answer
 ├─ SupervisorRefused          supervisord does not do what it was asked
 ├─ AlreadyRunning             what may run once on a machine runs already
 ├─ RefusedRelease             no release can be made of this, or there is none to go to
 ├─ DeployFailed               a deploy failed before it switched: what ran runs on
 │   └─ RolledBack             it failed after that, and the former release was made current again
 ├─ BootFailed                 a worker cannot start: something that guards it failed
 ├─ ScriptFailed               a script refused its input or broke: a defect, never a caller's fault
 ├─ RateLimited                an actor must wait for a limit: its message goes back to its place
 └─ Permanent                  raised by an actor: do not retry, dead-letter at once

LeaseLost and Cancelled are not in the tree: they interrupt an actor's thread, so they are no ``Exception``.
"""

from typing import Final

from dramatiq.errors import BrokerConnectionError, RateLimitExceeded
from dramatiq.middleware import Interrupt, MiddlewareError


class LockstepError(Exception):
    """Something went wrong in Lockstep."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)
        self.message = str(self)


class InvalidSettings(LockstepError):
    """The settings are wrong; ``problems`` maps each setting to what is wrong with it."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("\n".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = problems


class Shadowed(LockstepError):
    """Another module is found under the name of one of Lockstep's packages, or another broker is in its place."""


class ImportFailed(LockstepError):
    """The actors cannot be imported."""


class InvalidOption(LockstepError, MiddlewareError, ValueError):
    """An actor has an option that could never work; the actor is not declared."""


class InvalidMessage(LockstepError):
    """A message was refused; nothing was written.

    ``field`` names what is wrong as a JSON pointer into the message (``/kwargs/body``).
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnknownActor(InvalidMessage):
    """No actor of that name is registered here."""

    def __init__(self, actor: str, field: str = "/actor") -> None:
        super().__init__(field, f"no actor named {actor!r} is registered: import its module, or declare it")
        self.actor = actor


class PayloadTooLarge(InvalidMessage):
    """The encoded message is larger than ``MAX_PAYLOAD_BYTES``."""

    def __init__(self, size: int, limit: int, field: str = "") -> None:
        super().__init__(field, f"the message has {size} bytes, at most {limit} are allowed")
        self.size = size
        self.limit = limit


class IdempotencyConflict(InvalidMessage):
    """Something else was asked under the same idempotency key or id; ``index`` says which message of the call."""

    def __init__(self, field: str, index: int = 0) -> None:
        super().__init__(field, "something else was asked under this before: a repeat must say the same")
        self.index = index


class NotAccepted(LockstepError):
    """Nothing is accepted now, and nothing was written; after ``retry_after`` seconds it may be accepted."""

    retry_after = 5


class IntakeOff(NotAccepted):
    """The intake is off; ``since_ms`` and ``why`` are what is known of that."""

    retry_after = 30

    def __init__(self, since_ms: int, why: str) -> None:
        super().__init__(f"no messages are accepted now: {why or 'an operator stopped the intake'}")
        self.since_ms = since_ms
        self.why = why


class QueueFull(NotAccepted):
    """The queue, or the shard of it, is full: it has ``unfinished`` messages, and may have ``most``."""

    def __init__(self, unfinished: int, most: int) -> None:
        super().__init__(f"the queue is full: {unfinished} messages are unfinished, {most} may be")
        self.unfinished = unfinished
        self.most = most


class MemoryLow(NotAccepted):
    """Redis uses ``used`` of ``most`` bytes: what is left is for finishing what is there."""

    retry_after = 10

    def __init__(self, used: int, most: int) -> None:
        super().__init__(f"Redis is nearly full: it uses {used} of {most} bytes")
        self.used = used
        self.most = most


class NotFound(LockstepError):
    """No such thing; ``kind`` and ``name`` say what was looked for."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no {kind} {name!r}")
        self.kind = kind
        self.name = name


class WrongState(LockstepError):
    """A message is in a state in which what was asked cannot be done; nothing was changed."""

    def __init__(self, message_id: str, state: str, asked: str) -> None:
        super().__init__(f"message {message_id!r} is {state}: cannot {asked} it")
        self.message_id = message_id
        self.state = state
        self.asked = asked


class GroupEmpty(WrongState):
    """A group has no message that waits, so there is nothing to do to its head."""

    def __init__(self, group: str, asked: str) -> None:
        super().__init__(group, "empty", asked)
        self.message = f"group {group!r} has no message that waits: there is nothing to {asked}"
        self.args = (self.message,)


class SchemaTooNew(LockstepError):
    """The data in Redis are for newer releases only: this one has schema ``ours`` and they need ``oldest``."""

    def __init__(self, ours: int, oldest: int) -> None:
        super().__init__(
            f"the data in Redis need a release of schema {oldest} or later, this one has {ours}: "
            "run the release that was set up last, or a newer one"
        )
        self.ours = ours
        self.oldest = oldest


class Unauthorized(LockstepError):
    """The request carries no API key, or one that is not known."""


class Forbidden(LockstepError):
    """The API key lacks the scope that this request needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs an API key with the scope {scope!r}")
        self.scope = scope


class RedisUnavailable(LockstepError, BrokerConnectionError, ConnectionError):
    """Redis did not answer, or answered that it cannot work now; trying again later may succeed.

    Nothing is known about the operation. Sending a message again is safe with its id, while its record is kept.
    """


class SupervisorAway(LockstepError):
    """supervisord does not answer: it does not run, or for another DATA_DIR."""


class SupervisorRefused(LockstepError):
    """supervisord does not do what it was asked; ``code`` is its own."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(f"supervisord: {why}")
        self.code = code


class AlreadyRunning(LockstepError):
    """What may run only once on a machine runs already."""


class ServiceAway(LockstepError):
    """A service that is used over HTTP gives no answer, or says that it is not ready."""


class ServiceRefused(LockstepError):
    """A service that is used over HTTP refuses for good: trying again is no use.

    ``status`` is that of its answer; None when what answers is no Lockstep.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RefusedRelease(LockstepError):
    """No release can be made of this, or there is none to go to; nothing was changed."""


class DeployFailed(LockstepError):
    """A deploy failed before it switched: what ran runs on. ``tail`` are the last lines of what failed."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


class RolledBack(DeployFailed):
    """A deploy failed after it switched, and the former release was made current again."""


class BootFailed(LockstepError):
    """A worker cannot start: a boot hook failed that it cannot do without."""


class ScriptFailed(LockstepError):
    """A script refused its input or broke half way; ``script`` names it."""

    def __init__(self, script: str, detail: str) -> None:
        super().__init__(f"{script}: {detail}")
        self.script = script


class Permanent(LockstepError):
    """Raised by an actor whose message can never succeed: it is dead-lettered without a retry."""

    def __init__(self, why: str, *, code: str = "permanent") -> None:
        super().__init__(why)
        self.code = code


class RateLimited(LockstepError, RateLimitExceeded):
    """Raised in an actor that must wait for a limit: its message goes back to its place and uses up no attempt."""

    def __init__(self, limit: str, delay_ms: int) -> None:
        super().__init__(f"the limit {limit!r} has no room for {delay_ms} ms")
        self.limit = limit
        self.delay_ms = delay_ms


class LeaseLost(Interrupt):
    """Interrupts an actor whose lease ended: another process may be running its message."""


class Cancelled(Interrupt):
    """Interrupts an actor whose message was cancelled, and that did not end within ``CANCEL_GRACE``."""


#: HTTP status and exit code of each error; the nearest class in the tree counts.
_OUTSIDE: Final[dict[type[LockstepError], tuple[int, int]]] = {
    LockstepError: (500, 1),
    InvalidSettings: (500, 2),
    Shadowed: (500, 2),
    ImportFailed: (500, 2),
    InvalidMessage: (422, 2),
    UnknownActor: (404, 2),
    PayloadTooLarge: (413, 2),
    NotAccepted: (503, 5),
    QueueFull: (429, 5),
    NotFound: (404, 1),
    WrongState: (409, 5),
    SchemaTooNew: (503, 5),
    Unauthorized: (401, 5),
    Forbidden: (403, 5),
    RedisUnavailable: (503, 4),
    SupervisorAway: (503, 3),
    AlreadyRunning: (409, 5),
    ServiceAway: (503, 3),
    ServiceRefused: (500, 5),
    RefusedRelease: (422, 2),
    RolledBack: (500, 3),
}


def _outside(error: LockstepError) -> tuple[int, int]:
    return next(_OUTSIDE[kind] for kind in type(error).__mro__ if kind in _OUTSIDE)


def http_status(error: LockstepError) -> int:
    """The HTTP status that tells a client about ``error``."""
    return _outside(error)[0]


def exit_code(error: LockstepError) -> int:
    """The exit code of a command that ends with ``error``."""
    return _outside(error)[1]

"""What each error means outside: an HTTP status and an exit code."""

import inspect
from typing import Any

import pytest
from dramatiq.errors import BrokerConnectionError

from lockstep import errors
from lockstep.errors import (
    AlreadyRunning,
    BootFailed,
    DeployFailed,
    Forbidden,
    GroupEmpty,
    IdempotencyConflict,
    ImportFailed,
    IntakeOff,
    InvalidMessage,
    InvalidOption,
    InvalidSettings,
    LeaseLost,
    LockstepError,
    MemoryLow,
    NotAccepted,
    NotFound,
    PayloadTooLarge,
    Permanent,
    QueueFull,
    RateLimited,
    RedisUnavailable,
    RefusedRelease,
    RolledBack,
    SchemaTooNew,
    ScriptFailed,
    ServiceAway,
    ServiceRefused,
    Shadowed,
    SupervisorAway,
    SupervisorRefused,
    Unauthorized,
    UnknownActor,
    WrongState,
    exit_code,
    http_status,
)

OUTSIDE = [
    (LockstepError(), 500, 1),
    (InvalidSettings({"PORT": "no"}), 500, 2),
    (Shadowed("actors.py"), 500, 2),
    (ImportFailed("actors.py, line 4"), 500, 2),
    (InvalidOption("work: backoff: wrong"), 500, 1),
    (InvalidMessage("/args", "wrong"), 422, 2),
    (UnknownActor("greet"), 404, 2),
    (PayloadTooLarge(300, 256), 413, 2),
    (IdempotencyConflict("/id"), 422, 2),
    (NotAccepted(), 503, 5),
    (IntakeOff(0, "night"), 503, 5),
    (QueueFull(7, 7), 429, 5),
    (MemoryLow(95, 100), 503, 5),
    (NotFound("message", "m1"), 404, 1),
    (WrongState("m1", "done", "cancel"), 409, 5),
    (GroupEmpty("g", "skip"), 409, 5),
    (SchemaTooNew(1, 2), 503, 5),
    (Unauthorized(), 401, 5),
    (Forbidden("read"), 403, 5),
    (RedisUnavailable("away"), 503, 4),
    (SupervisorAway(), 503, 3),
    (SupervisorRefused("BAD_NAME: web", 10), 500, 1),
    (AlreadyRunning(), 409, 5),
    (ServiceAway(), 503, 3),
    (ServiceRefused("no such actor", status=404), 500, 5),
    (ScriptFailed("claim", "broke"), 500, 1),
    (BootFailed("no"), 500, 1),
    (RefusedRelease("no"), 422, 2),
    (DeployFailed("no"), 500, 1),
    (RolledBack("no"), 500, 3),
    (Permanent("never"), 500, 1),
    (RateLimited("email", 50), 500, 1),
]


@pytest.mark.parametrize(("error", "status", "code"), OUTSIDE, ids=lambda value: type(value).__name__)
def test_status_and_exit_code(error: LockstepError, status: int, code: int) -> None:
    assert (http_status(error), exit_code(error)) == (status, code)


def test_no_error_is_forgotten_here() -> None:
    tree = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LockstepError)
    }

    assert tree == {type(error) for error, _, _ in OUTSIDE}


def test_a_new_error_counts_as_its_nearest_relative() -> None:
    class TooManyArguments(InvalidMessage):
        """Too many."""

    error = TooManyArguments("/args", "too many")

    assert (http_status(error), exit_code(error)) == (422, 2)


def test_the_docstring_is_the_text_of_an_error_without_one() -> None:
    assert str(Unauthorized()) == Unauthorized.__doc__


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidMessage("/kwargs/body", "missing"), "/kwargs/body: missing"),
        (
            UnknownActor("greet"),
            "/actor: no actor named 'greet' is registered: import its module, or declare it",
        ),
        (PayloadTooLarge(300, 256), ": the message has 300 bytes, at most 256 are allowed"),
        (NotFound("queue", "q"), "no queue 'q'"),
        (InvalidSettings({"PORT": "a", "HOST": "b"}), "PORT: a\nHOST: b"),
        (ScriptFailed("claim", "broke"), "claim: broke"),
    ],
)
def test_an_error_says_what_it_is_about(error: LockstepError, text: str) -> None:
    assert str(error) == error.message == text


@pytest.mark.parametrize("kind", [ConnectionError, BrokerConnectionError, LockstepError])
def test_redis_away_is_a_connection_error_for_everybody(kind: type[Any]) -> None:
    assert issubclass(RedisUnavailable, kind)


def test_a_lost_lease_passes_by_those_who_catch_every_exception() -> None:
    assert not issubclass(LeaseLost, Exception)

"""The options of actors and messages: where each may be given, and what its value must be.

An option that could never work is refused when it is given, by its name; none is ignored. An option of another
middleware is known when that middleware declares it in ``actor_options``, and only its middleware knows what it means.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockstep import checks
from lockstep.checks import check_text, check_truth, check_whole, kind
from lockstep.envelope import SCALARS
from lockstep.errors import InvalidMessage, InvalidOption
from lockstep.parsing import Backoff
from lockstep.rates import MAX_COUNT, parse_limit

Check = Callable[[object, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of one option."""

    check: Check
    actor: bool = True  #: whether an actor may have it
    message: bool = True  #: whether a message may have it
    engine: bool = False  #: whether it works whatever the middleware is
    none: bool = False  #: whether None is a value of its own: no limit
    absent: bool = True  #: whether a message may give None, as if it did not give the option
    field: str = ""  #: its name in a request, where that is another


def check_actor(name: str, options: dict[str, Any]) -> None:
    """Check the options of an actor; those that are None are removed, unless None means something.

    Raises:
      InvalidOption: one could never work.
    """
    for option_name, value in list(options.items()):
        option = OPTIONS.get(option_name)
        if option is None:
            continue
        if value is None:
            if not option.none:
                del options[option_name]
            elif option.check is _limit:
                options[option_name] = math.inf  # as Dramatiq has it
        elif not option.actor:
            raise InvalidOption(f"{name}: {option_name}: only for a message")
        else:
            try:
                option.check(_plain(value, ""), f"/{option_name}")
                _check_alone(option_name, options, f"/{option_name}")
            except InvalidMessage as error:
                raise InvalidOption(f"{name}: {option_name}: {error.problem}") from None


def check_names(options: Mapping[str, object], is_declared: Callable[[str], bool], pointer: str = "") -> None:
    """Check that a message may have all these options.

    Raises:
      InvalidMessage: one has no effect on a message.
    """
    if not isinstance(options, dict):
        raise InvalidMessage("/options", f"expected an object, got {kind(options)}")
    for name in options:
        option = OPTIONS.get(name)
        if option is not None and not option.message:
            raise InvalidMessage(f"{pointer}/{name}", "only for an actor: give it to the decorator")
        known = option.engine if option is not None else name in CARRIED
        if not known and not is_declared(name):
            raise InvalidMessage(checks.member(pointer, name), _unknown(name))
    for place, inner in _inner(options):
        check_names(inner, is_declared, pointer + place)


def merged_options(actor: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that hold for a message: its own, then those of its actor that they do not replace."""
    replaced = {ALTERNATIVES[name] for name in message if name in ALTERNATIVES}
    return {**{name: value for name, value in actor.items() if name not in replaced}, **message}


def check_values(options: Mapping[str, object], pointer: str = "") -> None:
    """Check the values of the options of a message.

    Raises:
      InvalidMessage: one could never work.
    """
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            if name == _INSTRUMENTED:
                _check_instrumented(value, f"{pointer}/{name}")
        elif value is None:
            if not (option.none or option.absent):
                raise InvalidMessage(pointer + (option.field or f"/{name}"), "None is no value; leave it out")
        else:
            field = pointer + (option.field or f"/{name}")
            option.check(value if type(value) in SCALARS else _plain(value, field), field)
            _check_alone(name, options, f"{pointer}/{name}")
    for place, inner in _inner(options):
        check_values(inner, pointer + place)


def stored_options(options: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    """Return the options that travel with a message, as they were given; of no limit, a time that never comes.

    JSON has no infinity, and for Dramatiq's middleware the None of a message is the limit of its actor.
    """
    stored = {}
    for name, value in options.items():
        option = OPTIONS.get(name)
        if name in left_out or (value is None and option is not None and not option.none):
            continue
        if option is not None and option.check is _limit and value in (None, math.inf):
            value = _NO_LIMIT_MS  # noqa: PLW2901
        elif option is not None and type(value) is float and value == math.inf:
            value = None  # noqa: PLW2901  (of max_retries the same as infinity)
        stored[name] = value
    return stored


def _check_alone(name: str, options: Mapping[str, object], field: str) -> None:
    other = ALTERNATIVES.get(name)
    if other is not None and options.get(other) is not None:
        raise InvalidMessage(field, f"has no effect next to {other}: give one of them")


def _inner(options: Mapping[str, object]) -> Sequence[tuple[str, Mapping[str, object]]]:
    """The options of messages that are sent when this one is done, and where they are."""
    if _CARRIERS.isdisjoint(options):  # as nearly always
        return ()
    messages = [("/pipe_target", options.get("pipe_target"))]
    callbacks = options.get("group_completion_callbacks")
    if isinstance(callbacks, list | tuple):
        messages += [(f"/group_completion_callbacks/{place}", one) for place, one in enumerate(callbacks)]
    return [
        (f"{place}/options", message["options"])
        for place, message in messages
        if isinstance(message, dict) and isinstance(message.get("options"), dict)
    ]


def _unknown(name: object) -> str:
    possible = [known for known, option in OPTIONS.items() if option.message]
    close = difflib.get_close_matches(str(name), possible, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no such option, and no middleware of this broker declares it{hint}"


def _check_instrumented(value: object, pointer: str) -> None:
    for name in value if isinstance(value, dict) else ():
        if name != "trace_context":
            raise InvalidMessage(
                checks.member(pointer, name), "options in here have no effect; give them to message.copy"
            )


def _plain(value: object, pointer: str) -> object:
    """Return ``value`` unless it is a text or number of a type that may read or print as another."""
    if isinstance(value, str | int | float) and type(value) not in SCALARS:
        raise InvalidMessage(pointer, f"expected a plain text or number, got {kind(value)}")
    return value


def _limit(value: object, pointer: str) -> object:
    """As in Dramatiq: None and infinity are no limit."""
    if value == math.inf:
        return value
    if checks.check_ms(value, pointer) == 0:
        raise InvalidMessage(pointer, "expected more than 0 milliseconds; None is no limit")
    return value


def _retries(value: object, pointer: str) -> object:
    """Return any whole number, also written as 3.0; infinity is no limit, as in Dramatiq."""
    if type(value) is float and (value == math.inf or (value >= 0 and value.is_integer())):
        return value
    return check_whole(value, 0, 2**31, pointer)


def _delay(value: object, pointer: str) -> object:
    return checks.check_delay(checks.rounded_up(value), pointer)


def _ttl(value: object, pointer: str) -> object:
    return value if type(value) is int and value >= 0 else checks.check_ms(value, pointer)


def _count(value: object, pointer: str) -> int:
    return check_whole(value, 1, MAX_COUNT, pointer)


def _name(value: object, pointer: str) -> str:
    return check_text(value, None, pointer)


def _function(value: object, pointer: str) -> object:
    if not callable(value):
        raise InvalidMessage(pointer, f"expected a function, got {kind(value)}")
    return value


def _message(value: object, pointer: str) -> object:
    if not isinstance(value, dict):
        raise InvalidMessage(pointer, f"expected an object, got {kind(value)}")
    for name in _MESSAGE_FIELDS:
        if name not in value:
            raise InvalidMessage(f"{pointer}/{name}", "missing")
    for name in value:
        if name not in _MESSAGE_FIELDS and name not in ("message_id", "message_timestamp"):
            raise InvalidMessage(checks.member(pointer, name), "a message has no such field")
    return value


def _messages(value: object, pointer: str) -> object:
    if not isinstance(value, list | tuple):
        raise InvalidMessage(pointer, f"expected an array, got {kind(value)}")
    for place, one in enumerate(value):
        _message(one, f"{pointer}/{place}")
    return value


def _backoff(value: object, pointer: str) -> object:
    if isinstance(
        value, Backoff
    ):  # of an actor that is declared again; no encoder of ours takes it in a message
        return value
    try:
        return Backoff.parse(check_text(value, None, pointer))
    except ValueError as error:
        raise InvalidMessage(pointer, str(error)) from None


def _on_dead(value: object, pointer: str) -> object:
    if value not in ("continue", "block"):
        raise InvalidMessage(pointer, f"expected 'continue' or 'block', got: {value!r}")
    return value


def _throws(value: object, pointer: str) -> object:
    # Dramatiq's worker asks isinstance: anything else would end its thread.
    for one in value if isinstance(value, tuple) else (value,):
        if one is not None and not (isinstance(one, type) and issubclass(one, BaseException)):
            raise InvalidMessage(pointer, "expected a class of exceptions, or a tuple of them")
    return value


def _rate_limit(value: object, pointer: str) -> object:
    try:
        parse_limit(value)
    except ValueError as error:
        raise InvalidMessage(pointer, str(error)) from None
    return value


def _reserved(value: object, pointer: str) -> object:
    raise InvalidMessage(pointer, "not supported yet; leave it out")


def _any(value: object, pointer: str) -> object:
    return value


#: What a message has at least.
_MESSAGE_FIELDS: Final = ("queue_name", "actor_name", "args", "kwargs", "options")

#: Milliseconds that are no limit: the largest whole number that every reader of JSON keeps.
_NO_LIMIT_MS: Final = 2**53 - 1

#: Options that stand for each other: of one actor or message, the first would have no effect next to the second.
ALTERNATIVES: Final = {
    "max_retries": "max_attempts",
    "min_backoff": "backoff",
    "max_backoff": "backoff",
    "group_by": "group",
}

#: Options with messages in them.
_CARRIERS: Final = frozenset({"pipe_target", "group_completion_callbacks"})

#: Where opentelemetry-instrumentor-dramatiq puts all options of a message.
_INSTRUMENTED: Final = "options"

#: What Dramatiq and packages for it put into messages and declare nowhere.
CARRIED: Final = frozenset(
    {
        *("retries", "traceback", "requeue_timestamp", "redis_message_id"),  # Dramatiq's retries and brokers
        "group_completion_uuid",  # Dramatiq's groups
        "unique_key",  # of a message that was sent before
        "scheduled_at",  # periodiq
        _INSTRUMENTED,
        "workflow_completion_callbacks",  # dramatiq-workflow
        "_sentry_headers",  # sentry-sdk, of a message that was sent before
    }
)

OPTIONS: Final[dict[str, Option]] = {
    "group": Option(check=checks.check_group, engine=True),
    "group_by": Option(check=checks.check_maker, engine=True, field="/group"),
    "validate": Option(check=_function, message=False),
    "hold_place": Option(check=check_truth, engine=True, absent=False),
    "retention": Option(check=checks.check_retention, engine=True, absent=False),
    "unique": Option(check=checks.check_unique, engine=True, absent=False),
    "unique_by": Option(check=checks.check_maker, engine=True),
    "on_dead": Option(check=_on_dead, engine=True, absent=False),
    "rate_limit": Option(check=_rate_limit),
    "rate_limit_key": Option(check=checks.check_maker),
    "concurrency": Option(check=_count, message=False),
    "group_concurrency": Option(check=_count, message=False),
    "max_attempts": Option(check=checks.check_attempts, absent=False),
    "max_retries": Option(check=_retries, none=True),
    "backoff": Option(check=_backoff),
    "min_backoff": Option(check=checks.check_ms),
    "max_backoff": Option(check=checks.check_ms),
    "retry_when": Option(check=_function, message=False),
    "throws": Option(check=_throws),
    "on_retry_exhausted": Option(check=_name),
    "time_limit": Option(check=_limit, none=True),
    "max_age": Option(check=_limit, none=True),
    "store_results": Option(check=check_truth),
    "result_ttl": Option(check=_ttl),
    # The middleware Periodic checks these together.
    "periodic": Option(check=_any, message=False),
    "catch_up": Option(check=_any, message=False),
    "time_zone": Option(check=_any, message=False),
    "notify_shutdown": Option(check=check_truth),
    "on_success": Option(check=_name),
    "on_failure": Option(check=_name),
    "pipe_ignore": Option(check=check_truth),
    "pipe_target": Option(check=_message, actor=False),
    "group_completion_callbacks": Option(check=_messages, actor=False, engine=True),
    "message_id": Option(check=checks.check_new_id, actor=False, engine=True, absent=False, field="/id"),
    "idempotency_key": Option(check=checks.check_key, actor=False, engine=True, absent=False),
    "delay": Option(check=_delay, actor=False, engine=True, field="/delay_ms"),
    "eta": Option(check=checks.check_eta, actor=False, engine=True),
    # Of an actor it is Dramatiq's own attribute.
    "priority": Option(check=checks.check_priority, actor=False, engine=True, absent=False),
    **dict.fromkeys(checks.RESERVED, Option(check=_reserved, engine=True, absent=False)),
}

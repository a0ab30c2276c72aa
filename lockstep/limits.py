"""Limits for actors to use: count a start by a key that only the actor knows, hold a limit that a provider closed.

Both are called inside an actor that runs under Lockstep.
"""

from typing import Any

import dramatiq
from dramatiq.middleware import CurrentMessage

from lockstep.claimed import ClaimedMessage
from lockstep.errors import InvalidOption, RateLimited
from lockstep.rates import MAX_PERIOD_MS, is_name, parse_rates


def charge(name: str, key: str = "", *, rate: str | None = None) -> None:
    """Count a start for ``key`` under the limit ``name``; return when it may start.

    When it may not, the message goes back to its place, uses up no attempt, and starts again, from the top of the
    actor, when the limit is expected to have room: so call this first, before anything that must not happen twice.

    Args:
      name: of a limit that settings, actors or operators have set.
      key: each has a count of its own, for instance the domain of a recipient; empty: one count for all.
      rate: such as ``"10/1s"``, which holds when nobody has set the limit.

    Raises:
      RateLimited: it may not start now; leave it to Lockstep.
      NotFound: nobody has set the limit, and no rate is given.
      RedisUnavailable: nothing is known; the attempt fails and is retried.
    """
    message, store = _current()
    try:
        rates = () if rate is None else parse_rates([rate])
    except ValueError as error:
        raise InvalidOption(str(error)) from None
    _check(name)
    wait_ms = store.limits.charge(message.exchange.shard, name, key, rates)
    if wait_ms:
        raise RateLimited(name, wait_ms)


def hold(name: str, seconds: float, key: str = "") -> None:
    """Start nothing that the limit ``name`` counts (or counts for ``key``) for so many seconds, anywhere.

    For the ``Retry-After`` of a provider. What runs goes on; a longer hold stays. The calling message is not put back:
    raise ``dramatiq.Retry(delay=…)`` or ``RateLimited(name, milliseconds)`` for that.
    """
    _check(name)
    if not 0 < seconds * 1000 <= MAX_PERIOD_MS:
        raise InvalidOption(f"expected more than 0 seconds and at most a week, got: {seconds!r}")
    _current()[1].limits.hold(name, max(1, round(seconds * 1000)), key)


def _current() -> tuple[ClaimedMessage, Any]:
    message: Any = CurrentMessage.get_current_message()
    if not isinstance(message, ClaimedMessage):
        raise InvalidOption("limits are charged and held by actors that run under Lockstep")
    broker: Any = dramatiq.get_broker()
    return message, broker.store


def _check(name: str) -> None:
    if not is_name(name):
        raise InvalidOption(f"expected a name of letters, digits, '.', '_' and '-', got: {name!r}")

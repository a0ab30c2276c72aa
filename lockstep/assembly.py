"""How a broker is put together: its settings, and its middleware with that of an application in its place."""

import importlib
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Middleware,
    Pipelines,
    ShutdownNotifications,
    TimeLimit,
)

from lockstep.checks import kind
from lockstep.parsing import Backoff
from lockstep.settings import Settings
from lockstep.store import Store

#: Where the middleware comes from of which a broker needs one of each kind: a second event loop would never end, a
#: second ``Callbacks`` would send everything twice, and periodiq's own would drop ticks that come late.
_SINGLE: Final = ("dramatiq.middleware.", "dramatiq.results.", "middleware.", "periodiq.")

#: Those whose place a class takes that an application derived from them: its parameters count, not the defaults.
_REPLACEABLE: Final = (AgeLimit, Callbacks, CurrentMessage, Pipelines, ShutdownNotifications, TimeLimit)

#: Settings that a broker does not read, although brokers of Dramatiq have parameters of these names.
_OF_THE_WEB_PROCESS: Final = frozenset({"host", "port"})

#: Parameters of Dramatiq's brokers, and the settings that mean the same.
_OF_DRAMATIQ: Final = {
    "url": "redis_url",
    "host": "redis_host",
    "port": "redis_port",
    "namespace": "queue_namespace",
}


def settings_with(options: Mapping[str, Any]) -> Settings:
    """Return the settings of the environment, of which those given by their lower-case names win.

    One that is None counts as not given.

    Raises:
      TypeError: there is no setting of a name, it is not for a broker, or its value is of a wrong type.
      InvalidSettings: one is wrong.
    """
    wrong = sorted(options.keys() - ({setting.name for setting in fields(Settings)} - _OF_THE_WEB_PROCESS))
    if wrong:
        hints = "".join(f"; use {_OF_DRAMATIQ[name]} for {name}" for name in wrong if name in _OF_DRAMATIQ)
        raise TypeError(f"no settings of a broker have these names: {', '.join(wrong)}{hints}")
    given = {name.upper(): _text(name, value) for name, value in options.items() if value is not None}
    return Settings.load({**os.environ, **given})


def _text(name: str, value: object) -> str:
    """Return a value as it would be in the environment."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, str | int | float | os.PathLike | Backoff):
        return str(value)
    raise TypeError(f"{name}: expected the text of a setting, a number or a boolean, got {kind(value)}")


def default_middleware(settings: Settings, store: Store) -> list[Middleware]:
    """Return the middleware of this project.

    The package is imported when the first broker is made, because it imports the broker itself.

    Raises:
      ImportError: another package of that name comes first on the path.
    """
    module = importlib.import_module("middleware")
    try:
        default = module.default
    except AttributeError:
        raise ImportError(
            f"{module.__file__} is imported instead of Lockstep's package middleware: rename it"
        ) from None
    middleware: list[Middleware] = default(settings, store)
    return middleware


def kept_of_kind(present: list[Middleware], new: Middleware) -> Middleware | None:
    """Return the one in ``present`` whose place a new middleware takes; None: there may be several.

    Raises:
      ValueError: next to what the broker has for the same purpose, it would do everything a second time.
    """
    _check_doubles(present, new)
    if f"{type(new).__module__}.".startswith(_SINGLE) and type(new) is not Middleware:
        return next((one for one in present if isinstance(one, type(new))), None)
    # An application may derive its own from one of these.
    return next((one for one in present if type(one) in _REPLACEABLE and isinstance(new, type(one))), None)


def _check_doubles(present: list[Middleware], new: Middleware) -> None:
    name = type(new).__name__
    loop = next((one for one in present if isinstance(one, AsyncIO)), None)
    if isinstance(new, AsyncIO) and type(new) is not AsyncIO and loop and not isinstance(new, type(loop)):
        raise ValueError(
            f"{name} would replace the event loop that keeps a group closed until a coroutine has ended: derive it"
            " from middleware.async_actors.AsyncIO, or from Middleware"
        )
    for base in (Callbacks, Pipelines, GroupCallbacks):
        if isinstance(new, base) and type(new).after_process_message is not base.after_process_message:
            raise ValueError(
                f"{name} would send what the broker sends instead of {base.__name__}: derive it from Middleware"
            )

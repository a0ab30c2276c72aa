"""How a broker is put together: its settings, and its middleware with that of an application in its place."""

import importlib
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from dramatiq.middleware import Middleware

from lockstep.settings import Settings
from lockstep.store import Store

#: Where the middleware comes from of which a broker needs one of each kind: a second event loop would never end, and
#: a second ``Callbacks`` would send everything twice.
_SINGLE: Final = ("dramatiq.middleware.", "dramatiq.results.", "middleware.")


def settings_with(options: Mapping[str, Any]) -> Settings:
    """Return the settings of the environment, of which those given by their lower-case names win.

    Raises:
      TypeError: there is no setting of a name.
      InvalidSettings: one is wrong.
    """
    unknown = options.keys() - {setting.name for setting in fields(Settings)}
    if unknown:
        raise TypeError(f"no settings of these names: {', '.join(sorted(unknown))}")
    return Settings.load({**os.environ, **{name.upper(): str(value) for name, value in options.items()}})


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
    """Return the one in ``present`` whose place a new middleware takes; None: there may be several."""
    if not f"{type(new).__module__}.".startswith(_SINGLE) or type(new) is Middleware:
        return None
    return next((one for one in present if isinstance(one, type(new))), None)

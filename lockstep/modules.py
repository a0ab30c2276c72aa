"""Whether the modules of ACTOR_MODULES are there and can be imported, seen before anything is started."""

import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

from lockstep.errors import InvalidSettings, LockstepError
from lockstep.parent import dies_with_me
from lockstep.settings import Settings


class ImportFailed(LockstepError):
    """The actors cannot be imported."""


def check_actor_modules(settings: Settings) -> None:
    """See that the modules of ACTOR_MODULES are there, before something is started that imports them.

    Raises:
      InvalidSettings: naming those that are not.
    """
    missing = [module for module in settings.actor_modules if not _is_there(module)]
    if missing:
        raise InvalidSettings(
            {"ACTOR_MODULES": f"no module {', '.join(map(repr, missing))} can be imported here"}
        )


def check_imports(environment: Mapping[str, str], timeout: float) -> None:
    """Import the actors in a process of its own, as web and workers will.

    Raises:
      ImportFailed: that does not work, or takes longer than ``timeout`` seconds; with the error and its place.
    """
    try:
        tried = subprocess.run(  # noqa: S603
            [sys.executable, "-m", __name__],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            preexec_fn=dies_with_me() if sys.platform == "linux" else None,
        )
    except subprocess.TimeoutExpired:
        raise ImportFailed(f"importing the actors takes longer than {timeout:.0f} seconds") from None
    if tried.returncode:
        told = tried.stderr.rstrip() or f"Python ended with {tried.returncode}"
        modules = environment.get("ACTOR_MODULES") or "none"
        raise ImportFailed(f"the actors cannot be imported (ACTOR_MODULES: {modules}):\n{told}")


def place_of(error: BaseException) -> str:
    """The line at fault, and what is wrong with it: all above it is ours or Python's own import."""
    # What periodiq refuses is wrong where it was called.
    passed_on = ("importlib", str(Path("periodiq", "__init__.py")))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(one in frame.filename for one in passed_on)
    ]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}: "
    return place + "".join(traceback.format_exception_only(error)).rstrip()


def _is_there(module: str) -> bool:
    """Looked for, not imported, nor its packages: actors must find the broker in place when they are declared."""
    name, path = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = _find(name, path)
        except KeyError:  # a directory without __init__.py within another: only an import can tell
            return True
        if spec is None:
            return False
        path = spec.submodule_search_locations or []  # nothing is inside what is no package
    return True


def _find(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    # As importlib.util.find_spec, which would import the packages above.
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _import() -> int:
    """The exit code; what went wrong, and where, is on standard error."""
    sys.path.insert(0, str(Path.cwd()))  # as the commands have it
    try:
        import actors  # noqa: F401, PLC0415
    except BaseException as error:
        print(place_of(error), file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    code = _import()
    sys.stderr.flush()
    os._exit(code)  # a module may have started a thread that does not end

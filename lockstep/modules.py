"""The one way to the actors: modules that must be there are looked for first, and what is wrong is reported."""

import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import dramatiq

from lockstep.cronrefusals import cron_refusal
from lockstep.errors import ImportFailed, InvalidOption, InvalidSettings, LockstepError, exit_code
from lockstep.parent import dies_with_me
from lockstep.settings import Settings
from lockstep.shadowing import OWN, add_working_directory, check_own_packages, find


def check_actor_modules(settings: Settings) -> None:
    """See that the modules of ACTOR_MODULES are there, before something is started that imports them.

    Raises:
      InvalidSettings: naming those that are not, or that are packages of Lockstep.
    """
    taken = [module for module in settings.actor_modules if module in OWN]
    if taken:
        raise InvalidSettings(
            {"ACTOR_MODULES": f"{', '.join(map(repr, taken))} is a package of Lockstep: rename your module"}
        )
    missing = [module for module in settings.actor_modules if not _is_there(module)]
    if missing:
        raise InvalidSettings(
            {"ACTOR_MODULES": f"no module {', '.join(map(repr, missing))} can be imported here"}
        )


def import_actors() -> ModuleType:
    """Import ``actors``, which is what puts broker, middleware and actors in place.

    Raises:
      Shadowed: another module of that name would be imported, or a module put another broker in place of ours.
      ImportFailed: an actor has an option or a schedule that could never work; with its file and line.
      LockstepError: what else Lockstep refuses, such as a wrong setting.
    """
    check_own_packages()
    try:
        import actors  # noqa: PLC0415  (reads the settings: not before somebody needs the actors)
    except InvalidOption as error:
        raise ImportFailed(f"{_place(error)}: {error}") from None
    except LockstepError:
        raise
    except Exception as error:
        if refused := cron_refusal(error):
            raise ImportFailed(refused) from None
        raise
    return actors


def import_for_work() -> None:
    """Import ``actors`` for a process that runs them, and see that what they need is there.

    Raises:
      LockstepError: as ``import_actors``; also proxies in the environment through which nothing can be delivered.
    """
    import_actors().messages.deliverer.check_environment()


def import_in_worker() -> None:
    """Import ``actors`` in a worker process of the command ``dramatiq``, or end it with the reason."""
    try:
        import_for_work()
    except LockstepError as error:
        print(f"lockstep: {error}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(exit_code(error))


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
    return f"{_place(error)}: " + "".join(traceback.format_exception_only(error)).rstrip()


def _place(error: BaseException) -> str:
    """The last line that is neither of Python's import, nor of a library that only passed on what it was given."""
    frames = traceback.extract_tb(error.__traceback__)
    passed_on: tuple[str, ...] = ("importlib", str(Path("periodiq", "__init__.py")))
    if isinstance(error, InvalidOption):  # found by our own middleware, which Dramatiq called
        ours = (str(Path(__file__).parent), str(Path(__file__).parents[1] / "middleware"))
        passed_on = (*passed_on, *ours, str(Path(dramatiq.__file__).parent))
    own = [frame for frame in frames if not any(one in frame.filename for one in passed_on)]
    frame = (own or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def _is_there(module: str) -> bool:
    """Looked for, not imported, nor its packages: actors must find the broker in place when they are declared."""
    name, path = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = find(name, path)
        except KeyError:  # a directory without __init__.py within another: only an import can tell
            return True
        if spec is None:
            return False
        path = spec.submodule_search_locations or []  # nothing is inside what is no package
    return True


def _import() -> int:
    """The exit code; what went wrong, and where, is on standard error."""
    add_working_directory()
    try:
        import_for_work()
    except LockstepError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except BaseException as error:
        print(place_of(error), file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    code = _import()
    sys.stderr.flush()
    os._exit(code)  # a module may have started a thread that does not end

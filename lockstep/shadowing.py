"""Whether Python would import Lockstep's own packages, or something else of the same name.

``actors``, ``web`` and ``middleware`` are common names. A user's ``actors.py`` in the working directory would be
imported instead of ours, and with it another broker. So every process looks for its packages before it imports them.
Nothing is executed: the finders report where a module is, and that is compared with where this package is.
"""

import base64
import hashlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution, distributions
from pathlib import Path
from typing import Final

from lockstep.errors import Shadowed

#: Every top-level package of this distribution.
OWN: Final = ("lockstep", "actors", "middleware", "web")

#: Where they all are: the directory of packages of an installation, or the top of a checkout.
_ROOT: Final = Path(__file__).parents[1]


def add_working_directory() -> None:
    """Let modules of the working directory be imported, as the command ``dramatiq`` does.

    Of another checkout of Lockstep only what no installed package has: its packages are of another release.
    """
    directory = Path.cwd()
    if directory.resolve() != _ROOT.resolve() and all(
        (directory / name / "__init__.py").is_file() for name in OWN
    ):
        sys.path.append(str(directory))
    else:
        sys.path.insert(0, str(directory))


def check_own_packages() -> None:
    """Return when each of our packages is what an import of its name finds.

    Raises:
      Shadowed: something else is found. The message names its file.
    """
    for name in OWN:
        expected = _ROOT / name / "__init__.py"
        found = _found(name)
        if found is None or found.resolve() != expected.resolve():
            raise Shadowed(
                f"{found or 'nothing'} would be imported as {name!r} instead of {expected}, which Lockstep needs: "
                "rename it, or start the command in another directory (and look at PYTHONPATH)"
            )
        if overwritten := _overwritten(name):
            file, other = overwritten
            raise Shadowed(
                f"{file} was overwritten by the package {other!r}, which has a module of the same name: "
                f"install Lockstep and {other!r} into different environments"
            )


def find(name: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """The module that an import would find, as ``importlib.util.find_spec``, but without importing its packages."""
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _found(name: str) -> Path | None:
    """The file of a top-level module; the directory of one that has no ``__init__``."""
    spec = find(name)
    if spec is None:
        return None
    if spec.origin and spec.has_location:
        return Path(spec.origin)
    return next((Path(place) for place in spec.submodule_search_locations or ()), None)


def _overwritten(name: str) -> tuple[Path, str] | None:
    """Return a file of a package that another distribution replaced, and its name; None if there is no such file.

    A file that was edited in place, and that nobody else claims, is as its owner wants it.
    """
    try:
        files = distribution("lockstep").files or []
    except PackageNotFoundError:  # run from a tree that is not installed
        return None
    first = f"{name}/__init__.py"
    ours = {file.as_posix(): file for file in files if file.suffix == ".py" and file.parts[0] == name}
    if first not in ours or Path(str(ours[first].locate())).resolve() != (_ROOT / first).resolve():
        return None  # editable, or another installation than the one that runs
    changed = (path for path, file in ours.items() if _changed(file, whole=path == first))
    return next(((_ROOT / path, other) for path in changed for other in _claiming(path)), None)


def _changed(file: PackagePath, *, whole: bool) -> bool:
    """Return whether a file is not as it was installed; without ``whole``, its size decides: there are hundreds."""
    path = Path(str(file.locate()))
    if not path.exists():
        return False  # an import of it fails by its name
    if file.size is not None and path.stat().st_size != file.size:
        return True
    if not whole or file.hash is None:
        return False
    digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value


def _claiming(file: str) -> Iterator[str]:
    for one in distributions():
        if _name(one) != "lockstep" and any(entry.as_posix() == file for entry in one.files or ()):
            yield _name(one)


def _name(one: Distribution) -> str:
    return str(one.metadata["Name"])

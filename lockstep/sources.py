"""Where the text of a setting comes from: the environment, ``.env``, and the files that these name.

The order is ``NAME`` of the environment, ``NAME_FILE`` of the environment, ``NAME`` of ``.env``, ``NAME_FILE`` of
``.env``. An empty ``NAME`` counts as not set, so that it neither hides the next source nor clears a secret. An empty
``NAME_FILE`` is an error: a secret was asked for, and ``${UNSET}`` must not turn signing or a token off.
"""

import io
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from dotenv.variables import Atom, Variable, parse_variables

from lockstep.errors import InvalidSettings

#: Bytes that a file of a setting, or ``.env``, may have.
_LARGEST: Final = 1 << 20
#: Paths that stand for a descriptor of the process that opens them: a child has another one there, or none.
_DESCRIPTORS: Final = ("/dev/fd/", "/dev/std", "/proc/")


class _NotRegular(ValueError):
    def __init__(self) -> None:
        super().__init__(
            "is not a regular file: every process reads its settings when it starts, a pipe can be read once"
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """The environment and ``.env``, read once."""

    environment: Mapping[str, str]
    dotenv: Mapping[str, str]
    broken: Mapping[str, str]  #: names whose value in ``.env`` was lost, and why

    @classmethod
    def read(cls, environment: Mapping[str, str], env_file: str) -> "Sources":
        """Read ``.env``; there may be none.

        Raises:
          InvalidSettings: it is not UTF-8, or has a line that cannot be read.
        """
        try:
            text = _dotenv(env_file)
        except (OSError, ValueError) as error:
            raise InvalidSettings({env_file: _reason(error)}) from None
        values = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}
        return cls(environment, values, _broken(text, values))

    def text(self, name: str) -> str | None:
        """Return the text of a setting; None: it is not set anywhere.

        Raises:
          ValueError: its value in ``.env`` was lost, or the file that it names cannot be used.
        """
        for values, broken in ((self.environment, {}), (self.dotenv, self.broken)):
            for given in (name, f"{name}_FILE"):
                if given in broken:
                    raise ValueError(f".env: {given} {broken[given]}")
                if text := values.get(given):
                    return text if given == name else _file(given, text)
                if text == "" and given != name:
                    raise ValueError(f"{given} is empty: name a file, or remove it")
        return None

    def sets(self, name: str) -> bool:
        """Whether a setting has a text, or names a file for it, anywhere."""
        names = (name, f"{name}_FILE")
        return any(self.plain(one) or one in self.broken for one in names)

    def plain(self, name: str) -> str | None:
        """Return the text of a name for which no file can be named."""
        return self.environment.get(name) or self.dotenv.get(name) or None


def _dotenv(path: str) -> str:
    file = Path(path)
    # A directory of this name is a virtual environment, and a device hides the file of an image on purpose.
    if not path or not file.exists() or file.is_dir() or file.is_char_device():
        return ""
    text = _read(path).decode("utf-8-sig")
    if "\0" in text:  # UTF-16 without a mark
        raise ValueError("is not UTF-8")
    for line in parse_stream(io.StringIO(text)):
        # The library leaves it out with a warning: a secret would silently be unset.
        if line.error:
            raise ValueError(f"line {line.original.line} is not NAME=value, or has an unclosed quote")
    return text


def _broken(text: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the names whose value in ``.env`` is not what was written, and why. Their text stays out of it."""
    broken: dict[str, str] = {}
    known = dict(os.environ)
    written: dict[str, str] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.key is None:
            continue
        if line.value is None:
            broken[line.key] = "has no ="
        elif written.get(line.key) and not line.value:
            broken[line.key] = "has a value, and further down none: remove one of the lines"
        elif not all(map(_filled(known), parse_variables(line.value))):
            broken[line.key] = "names a variable (${...}) that is not set"
        else:  # of several lines the last one counts
            broken.pop(line.key, None)
        written[line.key] = line.value or ""
        known[line.key] = values[line.key]
    return broken


def _filled(known: Mapping[str, str]) -> Callable[[Atom], bool]:
    """Return whether a part of a value stays as it is, or stands for a variable that is set or has a default."""
    return lambda part: (
        not isinstance(part, Variable) or part.default is not None or bool(known.get(part.name))
    )


def _file(name: str, path: str) -> str:
    # The errors leave the path out: it may be the secret itself, given under the wrong name.
    try:
        if path.startswith(_DESCRIPTORS):
            raise _NotRegular
        text = _read(path).decode("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"the file of {name} {_reason(error)}") from None
    if "\0" in text:
        raise ValueError(f"the file of {name} has a NUL")
    if not text:
        raise ValueError(f"the file of {name} is empty")
    return text


def _read(path: str) -> bytes:
    # Without waiting for a writer, should it be a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or not state.st_nlink:
            raise _NotRegular
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"has more than {_LARGEST} bytes")
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):  # its own text has a byte of the file
        return "is not UTF-8"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)

"""How many workers run: more than configured, one file for each; fewer, a list of those that shall not.

A slot is the number of a worker: those below WORKER_MASTERS belong to the group ``worker``, each other one is a group
of its own, so that no running one is touched when it comes and goes.
"""

import configparser
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lockstep.errors import AlreadyRunning
from lockstep.supervision.control import SUBSTITUTE
from lockstep.supervision.place import Place

_FILE: Final = re.compile(r"worker-(\d+)\.conf")


@contextmanager
def changing(place: Place) -> Iterator[None]:
    """Hold the right to start and stop programs for as long as the block runs; it ends with the process at the latest.

    Raises:
      AlreadyRunning: somebody else has it.
    """
    place.make()
    with (place.directory / "change.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning("a reload or a scale runs on this machine already") from None
        yield


def write_slot(place: Place, number: int) -> str:
    """Write the program file of an additional worker, made from the one that is configured; answers its group."""
    return write_program(place, "worker", str(number))


def write_program(place: Place, kind: str, suffix: str) -> str:
    """Write the file of one more program, a copy of the configured ``kind``, and return its group: its name."""
    name = f"{kind}-{suffix}"
    config = configparser.RawConfigParser()
    config.read(place.config, encoding="utf-8")
    section = dict(config[f"program:{kind}"])
    for option, value in section.items():
        section[option] = value.replace("%(program_name)s", kind).replace("%(process_num)d", suffix)
    section["numprocs"] = "1"
    lines = "".join(f"{option}={value}\n" for option, value in section.items())
    # Killed here: a file that is half written would be read, so it gets its name when it is whole.
    draft = place.extras / f"{name}.draft"
    draft.write_text(
        f"; Made by `lockstep` from {str(place.config)!r}.\n[program:{name}]\n{lines}", encoding="utf-8"
    )
    draft.replace(place.extras / f"{name}.conf")
    return name


def remove_slot(place: Place, number: int) -> None:
    """Forget the program file of an additional worker."""
    remove_program(place, f"worker-{number}")


def remove_program(place: Place, name: str) -> None:
    """Delete the file of a program that ``write_program`` made."""
    (place.extras / f"{name}.conf").unlink(missing_ok=True)


def extra_slots(place: Place) -> set[int]:
    """The additional workers that have a file."""
    names = (_FILE.fullmatch(file.name) for file in place.extras.glob("worker-*.conf"))
    return {int(name[1]) for name in names if name}


def stopped(place: Place) -> set[str]:
    """The configured workers that were stopped on purpose; a reload leaves them so."""
    with suppress(FileNotFoundError, ValueError):
        return {str(name) for name in json.loads(_list(place).read_text(encoding="utf-8"))}
    return set()


def set_stopped(place: Place, names: set[str]) -> None:
    """Remember the configured workers that were stopped on purpose."""
    draft = _list(place).with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(sorted(names)), encoding="utf-8")
    draft.replace(_list(place))


def forget_former(place: Place, masters: int) -> None:
    """Before supervisord starts: it starts all configured workers, so files of those are one too many.

    The others are made anew, from what the release says now.
    """
    _list(place).unlink(missing_ok=True)
    for file in place.extras.glob(f"*-{SUBSTITUTE}.conf"):  # of a reload that was killed
        file.unlink(missing_ok=True)
    for number in extra_slots(place):
        if number < masters:
            remove_slot(place, number)
        else:
            write_slot(place, number)


def _list(place: Place) -> Path:
    return place.directory / "stopped.json"

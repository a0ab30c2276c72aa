"""Files that commands read and write: plain ones, standard input and output, pipes and named pipes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import typer

#: Stands for standard input or output.
STANDARD = "-"


@contextmanager
def reading(file: str, option: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """A file to read once, from its beginning, and its bytes; None where only its end tells.

    Raises:
      BadParameter: it cannot be opened, or standard input is closed.
    """
    if file == STANDARD:
        if sys.stdin is None:
            raise typer.BadParameter(f"{option}: standard input is closed")
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    try:
        source = path.open("rb")
    except FileNotFoundError:
        raise typer.BadParameter(f"{option}: no file {file!r}") from None
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option}: {file!r}: {getattr(error, 'strerror', error)}") from None
    with source:
        # A pipe, as of <(…), has no size and cannot be read twice.
        yield source, os.fstat(source.fileno()).st_size if path.is_file() else None


@contextmanager
def writing(file: str) -> Iterator[BinaryIO]:
    """A file to write: a plain one is there under its name only when it is whole.

    Raises:
      BadParameter: it cannot be opened, or standard output is closed.
    """
    path = Path(file)
    if file == STANDARD:
        if sys.stdout is None:
            raise typer.BadParameter("FILE: standard output is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    plain = path.is_file() or not path.exists()  # else a pipe or a device, which is written to as it is
    part = Path(f"{file}.part") if plain else path
    try:
        target = part.open("wb")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"FILE: {file!r}: {getattr(error, 'strerror', error)}") from None
    try:
        with target:
            yield target
            target.flush()
            if plain:
                os.fsync(target.fileno())
        if plain:
            part.replace(file)
    finally:
        if plain:
            part.unlink(missing_ok=True)

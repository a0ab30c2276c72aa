"""Shows log files as they grow, each line whole and printable, also over a rotation."""

import os
from pathlib import Path
from typing import BinaryIO, Final

from lockstep.printable import printable_lines

#: Bytes that are read at once.
_CHUNK: Final = 1 << 20


class Follower:
    """Copies what is added to the log files of a directory from now on.

    A file that is renamed and begun anew between two looks is read to its end first. Of two rotations between two
    looks, the middle one is lost: a look every second allows for ten megabytes in that time.
    """

    def __init__(self, directory: Path, output: BinaryIO) -> None:
        self._directory = directory
        self._output = output
        self._files: dict[str, _File] = {}
        self._look(from_end=True)

    def copy(self) -> None:
        """Copy what has come since the last time."""
        self._look(from_end=False)
        for file in self._files.values():
            for lines in file.lines():
                self._output.write(_printable(lines))
        self._output.flush()

    def close(self) -> None:
        """Copy the rest, also lines without an end, and close the files."""
        self.copy()
        for file in self._files.values():
            self._output.write(_printable(file.close()))
        self._output.flush()

    def _look(self, *, from_end: bool) -> None:
        for path in sorted(self._directory.glob("*.log")):
            if path.name not in self._files:
                self._files[path.name] = _File(path, from_end=from_end)


def _printable(lines: bytes) -> bytes:
    """What actors print must not steer the terminal that all programs share."""
    return printable_lines(lines.decode(errors="backslashreplace")).encode() if lines else lines


class _File:
    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._stream = path.open("rb")
        self._rest = b""
        if from_end:
            self._stream.seek(0, os.SEEK_END)

    def lines(self) -> "list[bytes]":
        found = [self._read()]
        if self._renamed():
            # What was written between the two is read before it is left.
            found.append(self._read())
            self._stream.close()
            self._stream = self._path.open("rb")
            found.append(self._read())
        return found

    def close(self) -> bytes:
        self._stream.close()
        return self._rest + b"\n" if self._rest else b""

    def _read(self) -> bytes:
        read = self._rest
        while chunk := self._stream.read(_CHUNK):
            read += chunk
        whole, newline, self._rest = read.rpartition(b"\n")
        return whole + newline

    def _renamed(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(self._stream.fileno()).st_ino
        except FileNotFoundError:  # between the two
            return False

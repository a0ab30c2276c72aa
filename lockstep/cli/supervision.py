"""supervisord as ``lockstep up`` runs it: what it writes down is read, and what a person must know is told."""

import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from lockstep.cli.common import complain
from lockstep.parent import dies_with_me
from lockstep.settings import Settings
from lockstep.supervision.control import SUBSTITUTE
from lockstep.supervision.following import Follower
from lockstep.supervision.place import Place
from lockstep.supervision.slots import forget_former

#: Seconds between two looks at what the programs write, while they stop.
_LOOK_SECONDS: Final = 0.1
#: Lines of supervisord's log.
_ENDED: Final = re.compile(r" exited: (\S+) \((.+); (?:not )?expected\)")
_GAVE_UP: Final = re.compile(r" gave up: (\S+) ")


class SupervisordFailed(Exception):
    """supervisord ended, or gave up on a program."""


class Supervisord:
    """A running supervisord with web, workers and scheduler, which dies with this process.

    What its programs write goes to files, and is shown here.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        place = Place.of(settings)
        place.make()
        forget_former(place, settings.worker_masters)
        self._follower = Follower(place.directory, sys.stdout.buffer)
        self._log = Path(settings.data_dir) / "supervisord.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_bytes(b"")  # it appends; what the run before wrote is told already
        self._read = 0
        data = self._log.parent.absolute()
        # Its own lines go to its log alone, every change of a program among them.
        options = ("-n", "-s", "-e", "info", "-j", data / "supervisord.pid", "-l", data / "supervisord.log")
        self._process = subprocess.Popen(  # noqa: S603
            [*place.supervisord, "-c", place.config, *options],
            env=place.environment(settings, environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which asks once
            preexec_fn=dies_with_me() if sys.platform == "linux" else None,  # noqa: PLW1509
        )

    def check(self) -> None:
        """Show what the programs wrote, and tell of each that ended, since the last look; it is started again.

        Raises:
          SupervisordFailed: it ended, or has given up on a program.
        """
        self._follower.copy()
        for line in self._new_lines():
            if ended := _ENDED.search(line):
                complain(f"{ended[1]} ended: {ended[2]}")
            elif (gave_up := _GAVE_UP.search(line)) and not gave_up[1].endswith(f"-{SUBSTITUTE}"):
                raise SupervisordFailed(
                    f"supervisord gave up on {gave_up[1]}, which ends each time it is started: "
                    f"its own lines are above, those of supervisord in {self._log}"
                )
        if self._process.poll() is not None:
            code = self._process.returncode
            raise SupervisordFailed(f"supervisord ended with {code}; its lines are in {self._log}")

    def end(self) -> None:
        """Ask once and wait: its configuration says how long each program may take."""
        if self._process.poll() is None:
            self._process.terminate()
        while self._process.poll() is None:
            self._follower.copy()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_SECONDS)
        self._follower.close()

    def _new_lines(self) -> list[str]:
        with self._log.open("rb") as log:
            log.seek(self._read)
            # A line that is still being written is left for the next look.
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()

"""Where the files of supervisord are, and the environment that its configuration is written for."""

import glob
import ipaddress
import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockstep.errors import InvalidSettings
from lockstep.settings import Settings

#: The link to the release that runs, in a home that has releases.
CURRENT: Final = "current"

#: Bytes of a socket's path: the least that systems allow, less what supervisord adds while it makes it.
_SOCKET_BYTES: Final = 94


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one supervisord; all paths are absolute."""

    directory: Path  #: socket, logs, locks
    config: Path
    scripts: Path  #: where ``lockstep`` is, and usually ``supervisord``

    @classmethod
    def of(cls, settings: Settings) -> "Place":
        """The place for these settings and the working directory.

        In a home with releases, configuration and commands are those of the current release each time they are
        looked up, so that a process which starts anew is of the release that is current then.
        """
        directory = Path(settings.data_dir).absolute() / "supervisor"
        config, scripts = Path(__file__).with_name("supervisord.conf"), _scripts()
        release = Path.cwd() / CURRENT
        if (release / "supervisor" / "supervisord.conf").exists():
            config, scripts = release / "supervisor" / "supervisord.conf", release / ".venv" / "bin"
        return cls(directory, config, scripts)

    @property
    def socket(self) -> Path:
        """Where supervisord is asked."""
        return self.directory / "supervisord.sock"

    @property
    def supervisord(self) -> list[str]:
        """The command of supervisord: its script next to ours, else its module, as with ``pip install --target``."""
        script = self.scripts / "supervisord"
        if script.exists():
            return [str(script)]
        # Not from the working directory, which may have a directory of that name.
        return [sys.executable, "-P", "-m", "supervisor.supervisord"]

    @property
    def extras(self) -> Path:
        """The directory of the programs that ``lockstep scale`` adds."""
        return self.directory / "conf.d"

    def make(self) -> None:
        """Make the directories.

        Raises:
          InvalidSettings: DATA_DIR cannot be written.
        """
        try:
            self.extras.mkdir(parents=True, exist_ok=True)
            # supervisord warns of an include that matches nothing.
            (self.extras / "none.conf").write_text("; `lockstep scale` adds files here.\n", encoding="utf-8")
        except OSError as error:
            raise InvalidSettings({"DATA_DIR": f"{self.directory}: {error.strerror}"}) from None

    def environment(self, settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
        """``given`` and what the configuration asks for.

        What else `.env` says is left to the programs, which read it at each start: only so does a reload see changes.

        Raises:
          InvalidSettings: supervisord cannot hold a socket for HOST and PORT, or use the path of DATA_DIR.
        """
        if "%" in str(self.directory) or not str(self.directory).isprintable():
            # supervisord expands some of its options twice, and others once: no spelling suits both.
            problem = f"{str(self.directory)!r} has a % or a control character, which supervisord cannot use"
            raise InvalidSettings({"DATA_DIR": f"{problem}: choose another directory"})
        if len(os.fsencode(self.socket)) > _SOCKET_BYTES:
            problem = f"{self.socket} is too long for a socket: at most {_SOCKET_BYTES} bytes"
            raise InvalidSettings({"DATA_DIR": problem})
        names = {
            "HOST": _host(settings),
            "PORT": str(settings.port),
            "WEB_PROCESSES": str(settings.web_processes),
            "WORKER_MASTERS": str(settings.worker_masters),
            "SCHEDULER_PROCESSES": str(settings.scheduler_processes),
            "INSTANCE_ID": settings.instance_id,
            "SUPERVISOR_DIR": str(self.directory),
            "SUPERVISOR_INCLUDE": _pattern(self.extras),
            "PATH": os.pathsep.join((str(self.scripts), given.get("PATH", os.defpath))),
        }
        return {**given, **names}


def _scripts() -> Path:
    """Where the command ``lockstep`` is that runs; where this Python keeps commands, when something else runs."""
    running = Path(sys.argv[0])
    if running.name == "lockstep" and os.access(running, os.X_OK):
        return running.absolute().parent
    return Path(sysconfig.get_path("scripts"))


def _host(settings: Settings) -> str:
    if settings.port == 0:
        raise InvalidSettings({"PORT": "name a port, 0 cannot be told to anybody"})
    host = settings.bind_host
    try:
        family = ipaddress.ip_address(host).version
    except ValueError:  # a name
        return host
    if family != 4:  # noqa: PLR2004
        raise InvalidSettings(
            {"HOST": f"supervisord cannot listen on {host}: it takes IPv4 addresses and names"}
        )
    return host


def _pattern(directory: Path) -> str:
    # A blank would begin another pattern.
    return re.sub(r"\s", "?", glob.escape(str(directory))) + "/*.conf"

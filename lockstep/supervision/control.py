"""Asking supervisord: what runs, start one, stop one. Over XML-RPC on its socket."""

import socket
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, TypeVar

from supervisor.xmlrpc import Faults, SupervisorTransport

from lockstep.errors import SupervisorAway, SupervisorRefused
from lockstep.supervision.place import Place

#: Seconds that supervisord may take to answer: it never works on anything for long.
_ANSWER_SECONDS: Final = 10.0

#: What follows the type in the name of a process that only works while a reload restarts the only one of its type.
SUBSTITUTE: Final = "substitute"

_T = TypeVar("_T")


class ProgramState(StrEnum):
    """States of a program, by supervisord's names."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"


#: It has a process.
LIVE: Final = frozenset({ProgramState.STARTING, ProgramState.RUNNING, ProgramState.STOPPING})
#: It has none, and gets none unless it is started.
DOWN: Final = frozenset({ProgramState.STOPPED, ProgramState.EXITED, ProgramState.FATAL, ProgramState.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Program:
    """One process that supervisord keeps."""

    name: str  #: as people see it: worker-0
    group: str
    state: ProgramState
    pid: int  #: 0: it has none
    exit_code: int  #: of its last end; -1: by a signal
    log: Path

    @property
    def address(self) -> str:
        """What supervisord calls it."""
        return f"{self.group}:{self.name}"

    @property
    def type(self) -> str:
        """web, worker, scheduler or listener: groups of one that ``lockstep scale`` added end in a number."""
        return self.group.partition("-")[0]

    @property
    def substitute(self) -> bool:
        """Whether a reload started it in place of the only process of its type."""
        return self.name == f"{self.type}-{SUBSTITUTE}"

    @property
    def number(self) -> int:
        """Its number among those of its type."""
        digits = self.name.rpartition("-")[2]
        return int(digits) if digits.isdecimal() else 0


class Control:
    """Asks the supervisord of one place.

    Each method raises ``SupervisorAway`` when it does not answer, and ``SupervisorRefused`` when it does not do
    what it was asked.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._transport: Any = SupervisorTransport(serverurl=f"unix://{place.socket}")
        self._transport._get_connection = lambda: _Connection(place.socket)
        # The host is only there because the library asks for one.
        self._server = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)

    def alive(self) -> bool:
        """Whether it answers."""
        with suppress(SupervisorAway):
            self._ask(self._server.supervisor.getState)
            return True
        return False

    def programs(self) -> list[Program]:
        """Everything it keeps, by type and number."""
        answer: Any = self._ask(self._server.supervisor.getAllProcessInfo)
        programs = [_program(info) for info in answer]
        return sorted(programs, key=lambda program: (program.type, program.number))

    def program(self, address: str) -> Program:
        """One of them."""
        return _program(self._ask(lambda: self._server.supervisor.getProcessInfo(address)))

    def start(self, address: str) -> None:
        """Start it, and return at once. One that runs already is left alone."""
        with _unless(Faults.ALREADY_STARTED):
            self._ask(lambda: self._server.supervisor.startProcess(address, False))

    def stop(self, address: str) -> None:
        """Ask it to stop, and return at once. One that does not run is left alone."""
        with _unless(Faults.NOT_RUNNING):
            self._ask(lambda: self._server.supervisor.stopProcess(address, False))

    def add(self, group: str) -> None:
        """Read the configuration again, and take up this group alone; no other is touched."""
        self._ask(self._server.supervisor.reloadConfig)
        with _unless(Faults.ALREADY_ADDED):
            self._ask(lambda: self._server.supervisor.addProcessGroup(group))

    def remove(self, group: str) -> None:
        """Forget a group whose processes have stopped."""
        with _unless(Faults.BAD_NAME):
            self._ask(lambda: self._server.supervisor.removeProcessGroup(group))

    def _ask(self, question: Callable[[], _T]) -> _T:
        try:
            return question()
        except xmlrpc.client.Fault as fault:
            raise SupervisorRefused(fault.faultString, fault.faultCode) from None
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorAway(
                f"no supervisord answers at {self._place.socket} ({error}): start `lockstep supervisor`"
            ) from None
        finally:
            self._transport.close()  # supervisord may have closed it by the next question


class _Connection(HTTPConnection):
    """To the socket, and not waiting for an answer for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(str(self._path))


class _unless(suppress):  # noqa: N801  (reads as a word)
    """Leaves out one refusal: what was asked for is so already."""

    def __init__(self, code: int) -> None:
        super().__init__(SupervisorRefused)
        self._code = code

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, SupervisorRefused) and error.code == self._code


def _program(info: Any) -> Program:
    return Program(
        info["name"],
        info["group"],
        ProgramState(info["statename"]),
        info["pid"],
        info["exitstatus"],
        Path(info["stdout_logfile"]),
    )

"""Child processes that an actor forks: what they know of the lease of their parent, and how they end.

The copy of a message in a forked child is renewed by nobody there. So the deadline of its lease is shared: the parent
writes it and the child reads it. A child that returns from the actor would work as a second worker thread on what the
parent has claimed. It ends instead, as a thread of a forked process does in any program.
"""

import mmap
import os
import struct
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import WeakSet

from dramatiq.middleware import CurrentMessage

if TYPE_CHECKING:
    from lockstep.broker import LockstepBroker

_ENDED: Final = -1.0

_brokers: "WeakSet[LockstepBroker]" = WeakSet()


class SharedDeadline:
    """The ``time.monotonic()`` until which a lease holds, in memory that forked children share."""

    def __init__(self, deadline: float) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize("d"))
        self.write(deadline)

    def write(self, deadline: float) -> None:
        """Set it; 0: the lease is lost."""
        struct.pack_into("d", self._memory, 0, deadline)

    def read(self) -> float:
        """Return it."""
        return float(struct.unpack_from("d", self._memory)[0])

    def end(self) -> None:
        """Note that the run has ended."""
        self.write(_ENDED)

    @property
    def ended(self) -> bool:
        """Whether the run that forked this child has ended."""
        return self.read() == _ENDED


def watch(broker: "LockstepBroker") -> None:
    """Keep forked children away from what a broker holds in its own process."""
    _brokers.add(broker)


def end_child(error: BaseException | None) -> NoReturn:
    """End a forked child that returned from its actor, or raised, with the exit code that Python gives to that."""
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit((code or 0) & 0xFF)


def _share() -> None:
    message: Any = CurrentMessage.get_current_message()
    share = getattr(message, "share_deadline", None)
    if share is not None:
        share()


def _enter_child() -> None:
    message: Any = CurrentMessage.get_current_message()
    forked = getattr(message, "shared", None) is not None
    for broker in list(_brokers):
        broker.held.forget()  # the parent's
        if forked:
            broker.end_forked_runs()
    if forked:
        message.forked = True


os.register_at_fork(before=_share, after_in_child=_enter_child)

"""Whether new messages are accepted, in the whole fleet: Redis says so, and every enqueue looks."""

from dataclasses import dataclass
from typing import Final

from lockstep import clean
from lockstep.calls import Calls

#: What is said where a process that starts switches the intake off.
_AT_BOOT: Final = "WORKER_ACCEPT_JOBS is false"


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """How the intake is switched."""

    accept: bool
    since_ms: int | None = None  #: server time of the last change; None: it was never switched
    why: str | None = None  #: what whoever switched it off had to say


class Intake:
    """Switches the intake; a part of the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._key = calls.global_key("control")
        self.key = calls.global_key("intake")  #: what enqueues are given to look at

    def status(self) -> IntakeStatus:
        """How it is switched now."""
        intake, since, why = self._calls.command("HMGET", self._key, "intake", "since", "why")
        return IntakeStatus(intake != b"off", int(since) if since else None, clean.text(why or b"") or None)

    def switch(self, *, accept: bool, why: str = "") -> bool:
        """Switch it for everybody, from the next enqueue on; answers whether that is new."""
        return self._switch(accept, why, "run")

    def boot(self) -> bool:
        """Let WORKER_ACCEPT_JOBS count, unless an operator ever switched the intake; answers whether that is new."""
        accept = self._calls.settings.worker_accept_jobs
        return self._switch(accept, "" if accept else _AT_BOOT, "boot")

    def _switch(self, accept: bool, why: str, source: str) -> bool:
        arguments = ["on" if accept else "off", why, source]
        return bool(self._calls.run_on("switch_intake", [self._key, self.key], arguments) == 1)

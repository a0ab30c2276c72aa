"""A process that works while a reload restarts the only ready one of its type, so that there is never none.

Each type has at most one substitute, and its name is fixed. If the reload dies, the substitute keeps working, and the
next reload uses it and then stops it; ``forget_former`` removes its file before supervisord starts again.
"""

from collections.abc import Callable
from typing import Final

from lockstep.errors import SupervisorRefused
from lockstep.supervision.control import LIVE, SUBSTITUTE, Control, Program
from lockstep.supervision.place import Place
from lockstep.supervision.readiness import Readiness, size, tail
from lockstep.supervision.slots import remove_program, write_program

#: Types that may have a substitute. All web processes share one socket, which only their own group can have.
_TYPES: Final = frozenset({"worker", "scheduler"})


class Substitutes:
    """Start and stop the substitutes of one reload."""

    def __init__(self, control: Control, readiness: Readiness, place: Place) -> None:
        self._control = control
        self._readiness = readiness
        self._place = place

    def start_for(self, program: Program) -> tuple[str, str]:
        """Return when a program may stop: another of its type is ready, or its substitute is.

        Returns:
          The problem and the end of the substitute's log. Both are empty when the program may stop.

        Raises:
          RedisUnavailable: whether another one is ready is not known.
        """
        if program.type not in _TYPES or program.state not in LIVE or self._another_is_ready(program):
            return "", ""
        name = write_program(self._place, program.type, SUBSTITUTE)
        known = self.of(program.type)  # a reload that was killed left it
        since = size(known) if known else 0
        try:
            self._control.add(name)
            self._control.start(f"{name}:{name}")
            started = self._control.program(f"{name}:{name}")
            problem = self._readiness.wait(started)
        except SupervisorRefused as error:
            remove_program(self._place, name)
            return f"its {SUBSTITUTE} cannot be started, so it still runs: {error}", ""
        if not problem:
            return "", ""
        return f"its {SUBSTITUTE} does not start, so it still runs: {problem}", tail(started, since)

    def of(self, kind: str) -> Program | None:
        """The substitute of a type, if there is one."""
        found = (one for one in self._control.programs() if one.type == kind and one.substitute)
        return next(found, None)

    def retire(self, kind: str, stop: Callable[[Program], bool]) -> str:
        """Stop the substitute of a type, if there is one; return the problem, which is empty when it has ended.

        Args:
          kind: the type.
          stop: ask a program to stop and return whether it did in its time.
        """
        # Its file first: if the reload dies here, the next supervisord does not start it.
        remove_program(self._place, f"{kind}-{SUBSTITUTE}")
        substitute = self.of(kind)
        if substitute is None:
            return ""
        if not stop(substitute):
            return f"its {SUBSTITUTE} does not stop"
        self._control.remove(substitute.group)
        return ""

    def _another_is_ready(self, program: Program) -> bool:
        others = (one for one in self._control.programs() if one.type == program.type)
        return any(one.name != program.name and self._readiness.is_ready(one) for one in others)

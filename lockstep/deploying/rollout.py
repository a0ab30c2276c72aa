"""The steps of a deploy and of a rollback, each told as it begins and ends.

======== ============================ ================================================================
step     what it does                 if the process dies in it, or right after it, and deploy is said again
======== ============================ ================================================================
install  copy, venv, packages         what is half installed is removed; one that is whole is left for ``prune``,
                                      or installed anew when it is named again
migrate  ``lockstep setup``           it finds what is done; the release before runs on beside a schema that rose
verify   ``lockstep verify --before`` nothing has changed
switch   ``current`` in one step      the link leads to one of the two. Nothing was restarted; what starts by itself
                                      is of the release that is current. The next deploy goes on from there, and
                                      still knows the last release that was proven
reload   ``lockstep reload``          some processes are of each release, and they work side by side. The same name
                                      again goes on with the reload; ``lockstep rollback`` goes back
verify   ``lockstep verify``          everything runs on the new release, which is not proven: the same name again
                                      verifies it
prune    old releases are removed     what is half removed counts as half installed
======== ============================ ================================================================

When reload or the last verify fails, the former release is made current again, and what runs the new one is
reloaded. Each release does its own steps with its own code.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

from lockstep.deploying.home import Home
from lockstep.deploying.install import install, scripts_of
from lockstep.deploying.running import Ended, environment_of, run
from lockstep.deploying.source import Source
from lockstep.deploying.stack import Stack
from lockstep.errors import DeployFailed, LockstepError, RolledBack

#: Releases that are kept, the current and the former one among them.
KEPT: Final = 5

#: Seconds that ``setup`` and ``verify`` may take.
_CHECK_SECONDS: Final = 300.0

#: The checks that a rollback depends on: the others, such as a Redis that is nearly full, may be why one goes back.
GRAVE: Final = frozenset({"settings", "redis", "scripts", "schema", "actors", "web", "workers", "schedulers"})


class Teller(Protocol):
    """Whoever wants to see how it goes."""

    def begin(self, step: str) -> None:
        """A step begins."""

    def line(self, text: str) -> None:
        """Something that a step says."""

    def end(self, step: "Step") -> None:
        """A step ended."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step that ended."""

    name: str
    ok: bool
    seconds: float
    told: str

    def view(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"step": self.name, "ok": self.ok, "seconds": round(self.seconds, 1), "told": self.told}


@dataclass(slots=True)
class Rollout:
    """Brings a home from one release to another."""

    home: Home
    tell: Teller
    notify: Callable[[str, str], None]  #: title and text of a notice; raises nothing
    steps: list[Step] = field(default_factory=list)

    def deploy(self, source: Source, name: str, *, start: bool) -> None:
        """Install a source and let everything run on it.

        Raises:
          DeployFailed: before anything was switched; the release before runs on.
          RolledBack: after that; the release before was made current again, as far as the text says.
        """
        current, former = self.home.current(), self._last_proven(name)
        self.notify(f"deploy of {name} started", f"from {source.told}; current: {current or 'none'}")
        try:
            self._check_running(former, start=start)
            if name == current:
                self.tell.line(
                    f"{name} is current, and was never verified: going on with it as it is installed"
                )
            else:
                self._install(source, name)
            self._prepare(name)
            self._activate(name, former, start=start)
        except LockstepError as error:
            title = "rolled back" if isinstance(error, RolledBack) else "failed"
            self.notify(f"deploy of {name} {title}", f"{error}\n\n{tail_of(error)}".rstrip())
            raise
        with self._step("prune") as told:
            gone = self.home.prune(KEPT)
            told.append(f"removed {', '.join(gone)}" if gone else "nothing to remove")
        self.notify(f"deploy of {name} done", f"before: {former or 'none'}")

    def rollback(self, name: str) -> None:
        """Let everything run on an installed release again.

        Raises:
          DeployFailed, RolledBack: as ``deploy``.
        """
        former = self.home.current()
        self.notify(f"rollback to {name} started", f"current: {former}")
        try:
            self._verify(name, "--before", only=GRAVE)
            self._activate(name, former, start=False, only=GRAVE)
        except LockstepError as error:
            self.notify(f"rollback to {name} failed", f"{error}\n\n{tail_of(error)}".rstrip())
            raise
        self.notify(f"rollback to {name} done", f"before: {former}")

    # -- before the switch --------------------------------------------------------------------------------------

    def _install(self, source: Source, name: str) -> None:
        with self._step("install") as told:
            if halves := self.home.remove_halves():
                self.tell.line(f"half installed, removed: {', '.join(halves)}")
            install(self.home, name, source, self.tell.line)
            told.append(str(self.home.path(name)))

    def _prepare(self, name: str) -> None:
        try:
            with self._step("migrate"):
                self._lockstep(name, "setup")
            self._verify(name, "--before")
        except DeployFailed:
            if name != self.home.current():
                self.home.remove(name)  # nobody ever runs it, and the next one is installed anew
            raise

    def _last_proven(self, name: str) -> str | None:
        """What to go back to: the current release, or, if a deploy of it died, the one before it."""
        current = self.home.current()
        release = self.home.find(current) if current and current != name else None
        return current if release and release.proven_at else self.home.former()

    # -- from the switch on -------------------------------------------------------------------------------------

    def _activate(
        self, name: str, former: str | None, *, start: bool, only: frozenset[str] | None = None
    ) -> None:
        self._check_running(former, start=start)
        stack = Stack(self.home, self.tell.line)
        runs = stack.runs()
        resumed = name == self.home.current()
        if not resumed:
            with self._step("switch") as told:
                self.home.switch(name)
                told.append(f"{former or 'none'} -> {name}")
        if not runs and not start:
            return self._leave_stopped(name)
        try:
            if runs:
                self._reload("reload", name, stack, resumed=resumed)
            else:
                with self._step("start") as told:
                    told.append(stack.start(name))
            self._verify(name, only=only)
        except LockstepError as error:
            if not runs:
                self._stop_again(former, stack, error)
            self._go_back(name, former, stack, error)
        return self.home.prove(name)

    def _check_running(self, former: str | None, *, start: bool) -> None:
        """After the first deploy something must run: one that changed nothing would look like a success."""
        stack = Stack(self.home, self.tell.line)
        if stack.runs():
            stack.check_idle()
        elif former is not None and not start:
            raise DeployFailed(
                "no supervisord answers here: start it first (systemd, or `lockstep deploy --start`)"
            )

    def _leave_stopped(self, name: str) -> None:
        told = "no supervisord runs here yet: start it by systemd or with `lockstep deploy --start`"
        self._ended(Step("reload", True, 0.0, f"left out: {told}"))
        # It was verified as far as it can be, and there is nothing else to go back to.
        self.home.prove(name)

    def _stop_again(self, former: str | None, stack: Stack, error: LockstepError) -> NoReturn:
        """What was started does not do: nothing ran before, and nothing runs now."""
        stack.stop()
        if former is None:
            self.home.unlink()
        else:
            self.home.switch(former)
        told = f"{former or 'no release'} is current, as before; what was started is stopped"
        raise RolledBack(f"{error}\n{told}", tail_of(error)) from None

    def _go_back(self, name: str, former: str | None, stack: Stack, error: LockstepError) -> NoReturn:
        """The new release does not do: what runs it goes back to the former one."""
        if former is None:
            raise RolledBack(
                f"{error}\n{name} stays current, for there is no release to go back to", tail_of(error)
            ) from None
        self.tell.line(f"{name} does not run as it should; going back to {former}")
        try:
            with self._step("switch back") as told:
                self.home.switch(former)
                told.append(f"{name} -> {former}")
            self._reload("reload back", former, stack, resumed=True)
        except LockstepError as second:
            raise RolledBack(
                f"{error}\n{former} is current again, but not everything runs on it: {second}\n"
                "look at `lockstep processes`, then say `lockstep reload`",
                tail_of(error),
            ) from None
        raise RolledBack(
            f"{error}\n{former} is current again, and everything runs on it", tail_of(error)
        ) from None

    def _reload(self, step: str, name: str, stack: Stack, *, resumed: bool) -> None:
        """Let everything run on the current release; ``resumed``: leave alone what does already."""
        with self._step(step) as told:
            options = ("--outdated",) if resumed else ()
            self._lockstep(name, "reload", *options, timeout=None)
            told.append(stack.check_versions(name))

    def _verify(self, name: str, *options: str, only: frozenset[str] | None = None) -> None:
        """Let a release verify; ``only``: the checks that count, where not all do."""
        with self._step("verify") as told:
            ended, lines = self._run(name, ("verify", *options, "--json"), _CHECK_SECONDS, quiet=True)
            checks = _checks_in(lines)
            if checks is None:
                raise DeployFailed(f"`lockstep verify` of {name} ended with {ended.code}", ended.tail)
            for one in checks:
                if one["status"] in ("warning", "failed"):
                    self.tell.line(_told(one))
            wrong = [one for one in checks if one["status"] == "failed"]
            grave = [one for one in wrong if only is None or one["check"] in only]
            if grave:
                names = ", ".join(one["check"] for one in grave)
                raise DeployFailed(
                    f"`lockstep verify` of {name}: {names} failed", "\n".join(map(_told, grave))
                )
            told.append(f"{len(checks)} checks, {len(wrong)} failed")

    # -- one step -----------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        began = time.monotonic()
        told: list[str] = []
        self.tell.begin(name)
        try:
            yield told
        except LockstepError as error:
            self._ended(Step(name, False, time.monotonic() - began, str(error)))
            raise
        self._ended(Step(name, True, time.monotonic() - began, "; ".join(told)))

    def _ended(self, step: Step) -> None:
        self.steps.append(step)
        self.tell.end(step)

    def _lockstep(
        self,
        release: str,
        *arguments: str,
        timeout: float | None = _CHECK_SECONDS,
    ) -> None:
        """Run a command of a release in the home; it must end with 0."""
        ended, _ = self._run(release, arguments, timeout)
        if ended.code:
            said = " ".join(("lockstep", *arguments))
            raise DeployFailed(f"`{said}` of {release} ended with {ended.code}", ended.tail)

    def _run(
        self, release: str, arguments: Sequence[str], timeout: float | None, *, quiet: bool = False
    ) -> tuple[Ended, list[str]]:
        """How a command ended, and all its lines; ``quiet``: which are not told."""
        lines: list[str] = []

        def tell(line: str) -> None:
            lines.append(line)
            if not quiet:
                self.tell.line(line)

        scripts = scripts_of(self.home.path(release))
        ended = run(
            (scripts / "lockstep", *arguments),
            directory=self.home.root,
            environment=environment_of(scripts),
            tell=tell,
            timeout=timeout,
        )
        return ended, lines


def tail_of(error: LockstepError) -> str:
    """The last lines of what failed, as far as there are any."""
    return error.tail if isinstance(error, DeployFailed) else ""


def _checks_in(lines: Sequence[str]) -> list[dict[str, Any]] | None:
    """The checks of ``lockstep verify --json``, which may have logged before; None: it did not get so far."""
    for line in reversed(lines):
        if line.startswith('{"ok"'):
            found: list[dict[str, Any]] = json.loads(line)["checks"]
            return found
    return None


def _told(check: dict[str, Any]) -> str:
    advice = f" ({check['advice']})" if check["advice"] else ""
    return f"{check['status']}  {check['check']}: {check['told']}{advice}"

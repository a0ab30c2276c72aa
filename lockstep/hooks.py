"""How a broker calls the hooks of its middleware: as Dramatiq does, but so that no hook undoes what has happened.

Before a run every error fails the attempt. After it, none changes the outcome, and each hook is called.
"""

from collections.abc import Callable
from typing import Any, Final

from dramatiq import Broker
from dramatiq.middleware import Callbacks, GroupCallbacks, Middleware, MiddlewareError, Pipelines, SkipMessage
from dramatiq.middleware.prometheus import Prometheus
from dramatiq.results import Results

from lockstep import logs
from lockstep.booting import refuse
from lockstep.claimed import ClaimedMessage
from lockstep.states import Verb

log = logs.get_logger("lockstep.broker")

#: Signals of a worker thread about a claimed message, besides ``process_message``.
_OF_A_CLAIM: Final = frozenset({"skip_message", "ack", "nack"})

#: An attempt has not succeeded while what these store is not stored. No other hook undoes a success.
_EFFECTS: Final = (Results, Callbacks, Pipelines, GroupCallbacks)

#: Middleware that only measures, so that a run does not depend on it. Without the process of a command, as in tests of
#: an application, Dramatiq's own has no metrics and fails at each message.
_MEASURES: Final = (Prometheus,)


class HookedBroker(Broker):
    """Calls hooks, and leaves out those that do nothing."""

    _hooks: dict[str, list[Callable[..., None]]]  #: found so far, by name

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in order; only a ``MiddlewareError`` gets out, and before a run every other error, too.

        Nothing gets out of the hooks around a settlement: the worker would leave the message unsettled.
        """
        name = "before_" + signal
        if signal in _OF_A_CLAIM:
            self._call_all(name, self._hooks_of(name), args, kwargs)
            return
        for hook in self._hooks_of(name):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError as error:
                refuse(self, name, hook, error, args)
                raise
            except Exception as error:
                refuse(self, name, hook, error, args)
                self._on_hook_error(name, hook, error, args)
                if signal == "process_message" and not isinstance(getattr(hook, "__self__", None), _MEASURES):
                    # A guard that broke has not guarded: do not run.
                    args[0].hook_error = error
                    raise SkipMessage(f"{name} failed") from error

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in reverse order, each of them whatever another one raises."""
        name = "after_" + signal
        if signal == "process_message" or signal in _OF_A_CLAIM:
            self._call_all(name, self._hooks_of(name), args, kwargs)
            if args[0].failed and signal.endswith("_message") and isinstance(args[0], ClaimedMessage):
                self._decide_again(name, args, kwargs)
            return
        for hook in self._hooks_of(name):
            try:
                hook(self, *args, **kwargs)
            except Exception as error:
                refuse(self, name, hook, error, args)
                self._on_hook_error(name, hook, error, args)

    def _decide_again(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A hook that ran after the outcome failed the message: that counts, as in Dramatiq."""
        settlement = args[0].settlement
        if settlement is not None and settlement.verb is not Verb.DEAD_LETTER:
            hooks = self._hooks_of(name)
            deciding = [hook for hook in hooks if getattr(getattr(hook, "__self__", None), "decides", False)]
            self._call_all(name, deciding, args, kwargs)

    def _call_all(
        self, name: str, all_hooks: list[Callable[..., None]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Call each hook once; nothing gets out, or the worker's thread would end and the message stay unsettled.

        The loop is entered again after an error, because an interrupt may also arrive between two hooks.
        """
        hooks, hook, called = iter(all_hooks), None, False
        while not called:
            try:
                for hook in hooks:
                    hook(self, *args, **kwargs)
                called = True
            except BaseException as error:
                self._on_hook_error(name, hook, error, args)
                if name == "after_process_message" and isinstance(getattr(hook, "__self__", None), _EFFECTS):
                    args[0].hook_error = error

    def _hooks_of(self, name: str) -> list[Callable[..., None]]:
        hooks = self._hooks.get(name)
        return self._find_hooks(name) if hooks is None else hooks

    def _find_hooks(self, name: str) -> list[Callable[..., None]]:
        order = self.middleware if name.startswith("before_") else list(reversed(self.middleware))
        # Hooks of Dramatiq whose work another middleware of the list does.
        unused = {getattr(Middleware, name), *(one for m in order for one in getattr(m, "replaces", ()))}
        hooks = [getattr(m, name) for m in order if getattr(type(m), name) not in unused]
        self._hooks[name] = hooks
        return hooks

    def _on_hook_error(self, name: str, hook: Any, error: BaseException, args: tuple[Any, ...]) -> None:
        middleware = type(getattr(hook, "__self__", None)).__name__
        log.critical("middleware.failed", hook=name, middleware=middleware, exc_info=error)
        if args and isinstance(args[0], ClaimedMessage):
            self.count_hook_failure(name, args[0].queue_name)

    def count_hook_failure(self, name: str, queue_name: str) -> None:
        """Count a hook that failed for a message of a queue; the broker that has consumers does."""

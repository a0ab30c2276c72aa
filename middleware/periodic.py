"""Periodic actors: what they declare with periodiq is checked, and read by ``cronsim`` ever after."""

from typing import Any

import periodiq

from lockstep import cron
from lockstep.arguments import check_arguments
from lockstep.cronrefusals import explain
from lockstep.errors import InvalidMessage, InvalidOption
from lockstep.schedules import MAX_NAME, CatchUp


class Periodic(periodiq.PeriodiqMiddleware):  # type: ignore[misc]
    """Lets actors say ``periodic=periodiq.cron("*/5 * * * *")`` and ``catch_up="last"``.

    Both ``lockstep scheduler`` and periodiq's own command find its tick in the same minute afterwards.
    """

    actor_options = {"periodic", "catch_up", "time_zone"}  # noqa: RUF012  (as Dramatiq declares it)

    def before_declare_actor(self, broker: Any, actor: Any) -> None:
        """Raises InvalidOption for a schedule that could never be kept as it is written."""
        options = actor.options
        if options.get("periodic") is None:
            for name in sorted({"catch_up", "time_zone"} & options.keys()):
                raise InvalidOption(f"{actor.actor_name}: {name}: only for a periodic actor")
            options.pop("periodic", None)  # as if it were not there, for periodiq
            return
        try:
            options["periodic"] = GuardedSpec.of(options["periodic"], options.get("time_zone"))
        except ValueError as error:
            raise InvalidOption(f"{actor.actor_name}: periodic: {error}") from None
        try:
            options["catch_up"] = CatchUp(options.get("catch_up", CatchUp.LAST))
        except ValueError:
            raise InvalidOption(
                f"{actor.actor_name}: catch_up: expected skip, last or all, got: {options['catch_up']!r}"
            ) from None
        self._check_sendable(actor)

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Nothing: periodiq would drop what is older than 30 seconds by the clock of the worker."""

    def _check_sendable(self, actor: Any) -> None:
        if len(actor.actor_name) > MAX_NAME:
            raise InvalidOption(f"{actor.actor_name}: periodic: its name has more than {MAX_NAME} characters")
        try:
            check_arguments(actor, (), {})
        except InvalidMessage as error:
            raise InvalidOption(
                f"{actor.actor_name}: periodic: it is sent without arguments, {error}"
            ) from None


class GuardedSpec(periodiq.CronSpec):  # type: ignore[misc]
    """What periodiq asks a schedule, answered by ``cronsim``."""

    @classmethod
    def of(cls, spec: object, zone: str | None = None) -> "GuardedSpec":
        """The guarded form of what an actor declares: a ``periodiq.cron(…)``, or the text of one.

        Raises:
          ValueError: it is no schedule, or the two libraries disagree about it.
        """
        if isinstance(spec, str):
            try:
                spec = periodiq.cron(spec)
            except Exception as error:  # whatever its parsing runs into
                raise ValueError(explain(spec, error)) from None
        if not isinstance(spec, periodiq.CronSpec):
            raise ValueError(f"expected periodiq.cron(…), got: {spec!r}")
        return cls(cron.normalised(spec, zone), spec)

    def __init__(self, expression: str, spec: Any) -> None:
        super().__init__(spec.minute, spec.hour, spec.dom, spec.month, spec.dow, parsed_from=expression)
        self.expression = expression

    def validate(self, date: Any) -> bool:
        """Whether the minute of ``date`` is a tick."""
        minute_ms = int(date.timestamp()) // 60 * 60_000
        return cron.next_tick(self.expression, minute_ms - 1) == minute_ms

    def next_valid_date(self, last: Any) -> Any:
        """The next tick after the minute of ``last``."""
        return periodiq.pendulum.from_timestamp(
            cron.next_tick(self.expression, int(last.timestamp() * 1000)) // 1000
        )

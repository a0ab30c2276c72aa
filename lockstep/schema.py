"""Which shape the data in Redis have, so that old and new releases may run side by side, or are told not to.

The number rises when scripts begin to write what earlier ones would misread. What they would only carry along does
not count: rows keep elements, options and ``extra`` fields that a release does not know.

Such a change takes two releases. The first understands both shapes, writes the old one, and has ``SCHEMA`` raised;
the one after it writes the new shape and raises ``OLDEST`` to that number. So when ``lockstep setup`` of a release
stores its numbers, whatever still runs of the release before it may go on, and so may a rollback by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockstep import logs
from lockstep.calls import Calls
from lockstep.ending import end_process
from lockstep.errors import RedisUnavailable, SchemaTooNew
from lockstep.service import keep_trying

#: The schema that this release reads and writes.
SCHEMA: Final = 1

#: The oldest schema whose releases may still run beside this one.
OLDEST: Final = 1

#: Seconds between two looks while Redis is away.
_AGAIN_SECONDS: Final = 0.5

_log = logs.get_logger("lockstep.schema")


@dataclass(frozen=True, slots=True)
class SchemaRecord:
    """What Redis says of its data."""

    number: int  #: the newest schema that a ``lockstep setup`` brought
    oldest: int  #: releases with an older one may not run any more
    at_ms: int  #: server time at which one of them changed last


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration found and left."""

    before: int  #: the number before; 0: none was stored, as in a fresh Redis
    record: SchemaRecord
    changed: bool


class Schema:
    """Reads and raises the schema number; a part of the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._key = calls.global_key("schema")

    def read(self) -> SchemaRecord | None:
        """What is stored; None: nothing, since no ``lockstep setup`` ran on these data."""
        number, oldest, at = self._calls.command("HMGET", self._key, "number", "oldest", "at")
        return None if number is None else SchemaRecord(int(number), int(oldest or 0), int(at or 0))

    def check(self) -> None:
        """Return when this release may run on these data.

        Raises:
          SchemaTooNew: it may not.
        """
        record = self.read()
        if record is not None and record.oldest > SCHEMA:
            raise SchemaTooNew(SCHEMA, record.oldest)

    def migrate(self, number: int = SCHEMA, oldest: int = OLDEST) -> Migration:
        """Note that releases of this schema use the data from now on. Never lowers a number; safe to repeat.

        Raises:
          SchemaTooNew: the data are for newer releases only; nothing was changed.
        """
        before, *stored, changed = self._calls.run_on("migrate", [self._key], [number, oldest])
        record = SchemaRecord(*stored)
        if number < record.oldest:
            raise SchemaTooNew(number, record.oldest)
        return Migration(before, record, changed == 1)


def check_when_known(
    schema: Schema,
    then: Callable[[SchemaTooNew | None], None],
    on_death: Callable[[str], object] = end_process,
    over: Callable[[], bool] = lambda: False,
) -> bool:
    """Check now; while Redis is away, look again in a thread, and call ``then`` once with the refusal or None.

    Answers whether it is known now that this release may run; ``then`` is not called in that case. ``on_death`` is
    called with the reason if the thread cannot go on; it stops when ``over`` returns true.

    Raises:
      SchemaTooNew: it may not run.
    """

    def look() -> bool:
        if over():
            return True
        refusal = None
        try:
            schema.check()
        except RedisUnavailable:
            return False
        except SchemaTooNew as error:
            _log.critical("schema.refused", error=str(error))
            refusal = error
        then(refusal)
        return True

    try:
        schema.check()
    except SchemaTooNew:
        raise
    except (
        Exception
    ) as error:  # another reply than that of a Redis is no defect of ours yet: the thread counts them
        _log.error("redis.lost", waits="to know whether this release may run", error=str(error))
        keep_trying("schema", look, _AGAIN_SECONDS, on_death)
        return False
    return True

"""Notices to people, through Apprise: mail, chat, a webhook, whatever their URLs name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockstep import logs

if TYPE_CHECKING:
    from apprise import Apprise

_log = logs.get_logger("lockstep.notices")

# Both log the addresses that they open, which hold tokens and passwords.
logging.getLogger("apprise").setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.ERROR)


def is_understood(dsn: str) -> bool:
    """Return whether every URL of ``dsn`` names a service that Apprise knows, as that service expects it."""
    return _receivers(dsn)[1]


def notify(dsn: str, title: str, body: str) -> bool:
    """Send a notice to each URL of ``dsn`` (comma or blank between them); answers whether all took it.

    It waits for each receiver, some seconds at most, and raises nothing: that nobody can be told is no reason
    to stop what is done. A refusal is a line in the log.
    """
    try:
        receivers, understood = _receivers(dsn)
        sent = bool(receivers.notify(title=title, body=body)) if len(receivers) else False
    except Exception as error:  # of any of a hundred services
        _log.error("notice.failed", title=title, error=f"{type(error).__name__}: {error}")
        return False
    if not (understood and sent):
        reason = "a receiver did not take it" if understood else "not every URL is understood"
        _log.error("notice.failed", title=title, error=reason)
        return False
    _log.info("notice.sent", title=title)
    return True


def _receivers(dsn: str) -> tuple["Apprise", bool]:
    """Return the receivers of ``dsn``, and whether every URL was understood."""
    # Takes a quarter of a second, and most processes never send a notice.
    from apprise import Apprise  # noqa: PLC0415

    receivers = Apprise()
    with _silent("apprise"):  # it logs a URL that it cannot read as it is, or the token in it
        return receivers, bool(receivers.add(dsn))


@contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)

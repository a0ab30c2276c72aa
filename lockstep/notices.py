"""Notices to people, through Apprise: mail, chat, a webhook, whatever their URLs name."""

from lockstep import logs

_log = logs.get_logger("lockstep.notices")


def notify(dsn: str, title: str, body: str) -> bool:
    """Send a notice to each URL of ``dsn`` (comma or blank between them); answers whether all took it.

    It waits for each receiver, some seconds at most, and raises nothing: that nobody can be told is no reason
    to stop what is done. A refusal is a line in the log.
    """
    # Takes a quarter of a second, and most processes never send a notice.
    from apprise import Apprise  # noqa: PLC0415

    try:
        receivers = Apprise()
        understood = receivers.add(dsn)
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

"""``lockstep listener``: tells of programs that died. supervisord starts it and talks to it."""

from lockstep import logs
from lockstep.settings import Settings
from lockstep.supervision.listener import listen


def listener() -> None:
    """Tell NOTIFICATION_DSN of programs that died. For supervisord, which talks to it on its standard input."""
    settings = Settings.load()
    logs.configure(settings)
    listen(settings.notification_dsn)

"""Workers for the packages that others wrote for Dramatiq."""

from tests.integration.conftest import broker, ended, start

__all__ = ["broker", "ended", "start"]

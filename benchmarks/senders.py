"""The two systems under measurement, each as its user would send to it."""

import os
from collections.abc import Sequence
from typing import Final, Protocol

from dramatiq.brokers.redis import RedisBroker

from benchmarks.worker import declare
from lockstep.settings import Settings
from middleware import make_broker

PLAIN: Final = "plain"
LOCKSTEP: Final = "lockstep"


class Sender(Protocol):
    """Sends no-op messages to one system."""

    name: str
    worker_module: str
    batches: bool  #: it can take many messages in one call

    def send(self, group: int, body: str) -> None:
        """Enqueue one message; it is stored when this returns."""

    def send_many(self, messages: Sequence[tuple[int, str]]) -> None:
        """Enqueue messages in their order, in one call where the system has one."""

    def close(self) -> None:
        """Close the connections."""


class PlainSender:
    """Plain Dramatiq: it knows no groups and no batches."""

    name = PLAIN
    worker_module = "benchmarks.plain_worker"
    batches = False

    def __init__(self, url: str) -> None:
        self._broker = RedisBroker(url=url)
        self._actor = declare(self._broker)

    def send(self, group: int, body: str) -> None:
        """Enqueue one message."""
        self._actor.send(body)

    def send_many(self, messages: Sequence[tuple[int, str]]) -> None:
        """Enqueue messages one by one."""
        for _, body in messages:
            self._actor.send(body)

    def close(self) -> None:
        """Close the connections."""
        self._broker.client.close()


class LockstepSender:
    """Lockstep, each message in the group of its number."""

    name = LOCKSTEP
    worker_module = "benchmarks.lockstep_worker"
    batches = True

    def __init__(self, url: str, **policy: str) -> None:
        """``policy``: settings beside the defaults."""
        self._broker = make_broker(settings(url, **policy))
        self._actor = declare(self._broker)

    def send(self, group: int, body: str) -> None:
        """Enqueue one message."""
        self._actor.send_with_options(args=(body,), group=_key(group))

    def send_many(self, messages: Sequence[tuple[int, str]]) -> None:
        """Enqueue messages in one call."""
        self._broker.enqueue_many(
            [self._actor.message_with_options(args=(body,), group=_key(group)) for group, body in messages]
        )

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()


def settings(url: str, **policy: str) -> Settings:
    """The default settings and those of a policy, whatever this machine's environment says."""
    return Settings.load({"REDIS_URL": url, "LOG_LEVEL": "warning", **policy}, env_file=os.devnull)


def _key(group: int) -> str:
    return f"instance-{group}:customer-{group}"

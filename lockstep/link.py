"""One connection to Redis that runs scripts, understands every way it can fail, and may send twice.

A link is used by one thread at a time. Each is a *session*: the scripts remember the last answer given to
it, so that a call whose answer was lost is sent again and changes nothing twice.
"""

import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    DataError,
    InvalidResponse,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from lockstep.errors import LockstepError, RedisUnavailable, ScriptFailed
from lockstep.refusals import classify, unavailable
from lockstep.scripts import Script
from lockstep.settings import Settings

#: Each try may take half of the time-out, so that one resend fits into it.
_TRIES: Final = 2

#: The run id in the reply to INFO.
_RUN_ID: Final = re.compile(rb"^run_id:([!-~]{8})", re.MULTILINE)

#: A script, its KEYS, its ARGV.
Call = tuple[Script, tuple[str, ...], Sequence[Any]]


def make_pool(settings: Settings, *, socket_timeout: float) -> ConnectionPool:
    """A pool whose connections fail after ``socket_timeout`` seconds and never retry by themselves.

    Raises:
      RedisUnavailable: when no address is configured.
    """
    address = settings.redis_address
    if address is None:
        raise RedisUnavailable(
            "no Redis is configured: set REDIS_URL, or start `lockstep up` for an embedded one"
        )
    options: dict[str, Any] = {"connection_class": Connection}
    if address.tls:
        options = {
            "connection_class": SSLConnection,
            "ssl_cert_reqs": "required" if address.verified else "none",
            # Older versions of the library refuse to check the name of a certificate that is not checked.
            "ssl_check_hostname": bool(address.verified),
            "ssl_ca_certs": address.ca_file,
        }
    # No URL reaches the library: its options would take precedence over these.
    return ConnectionPool(
        host=address.host,
        port=address.port,
        db=address.db,
        username=address.username,
        password=address.password,
        protocol=2,
        socket_timeout=socket_timeout,
        socket_connect_timeout=socket_timeout,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        client_name="lockstep",
        **options,
    )


class Link:
    """One connection, one session."""

    def __init__(self, pool: ConnectionPool, *, timeout: float) -> None:
        self.session = secrets.token_hex(8)
        self.epoch = ""  #: the first 8 characters of the server's run id, known once connected
        self._pool = pool
        self._timeout = timeout
        self._connection: Connection | None = None
        self._aborted = False
        self._calls = 0

    @property
    def connected(self) -> bool:
        """Whether a connection stands, as far as is known."""
        return self._connection is not None

    def next_number(self) -> str:
        """The number of a new call; a resend of the same call carries the same number."""
        self._calls += 1
        return str(self._calls)

    def run(self, build: Callable[[], list[Call]], *, tries: int = _TRIES) -> list[Any]:
        """Send scripts in one round trip; answers one reply each.

        ``build`` is asked again for each try, after a connection stands, because the epoch may have changed.
        The calls it makes must carry the numbers of the first try.

        Raises:
          RedisUnavailable: no answer, or an error reply that is not a script's own: sending again is safe.
          ScriptFailed: a script broke.
        """
        replies = self.run_each(build, tries=tries)
        for reply in replies:
            if isinstance(reply, LockstepError):
                raise reply
        return replies

    def run_each(
        self, build: Callable[[], list[Call]], *, tries: int = _TRIES
    ) -> list[Any | RedisUnavailable | ScriptFailed]:
        """As ``run``, but return an error reply in its place: the other scripts of the round trip have run.

        Raises:
          RedisUnavailable: no answer: nothing is known, sending again is safe.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            tries -= 1
            try:
                return self._run_once(build)
            except RedisUnavailable:
                raise  # of a server that cannot be used; it is an OSError too
            except DataError:
                raise  # an argument of ours that cannot be sent, and was not: a defect
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                self.disconnect()
                if tries <= 0 or time.monotonic() >= deadline:
                    raise unavailable(error) from error
            except RedisError as error:
                self.disconnect()
                raise unavailable(error) from error
            except BaseException:
                # An interrupt between question and answer would leave the answer to the next caller.
                self.disconnect()
                raise

    def command(self, *parts: Any) -> Any:
        """Send one plain command that may be sent twice, and answer its reply.

        Raises:
          RedisUnavailable: no answer, or any error reply.
          ScriptFailed: the command was to load a script that the server cannot compile.
        """
        try:
            try:
                return self._command_once(*parts)
            except RedisConnectionError:
                self.disconnect()  # the connection may have died long ago, unused: Redis need not be away
                return self._command_once(*parts)
        except ResponseError as error:
            raise self._refused(error, "command") from error
        except RedisUnavailable:
            raise
        except DataError:
            raise  # an argument of ours that cannot be sent, and was not: a defect
        except (RedisError, OSError) as error:
            self.disconnect()
            raise unavailable(error) from error
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Give the connection up; the next call makes a new one. The session goes on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def abort(self) -> None:
        """End a call that waits in another thread, and every later one: each fails as if Redis was away."""
        self._aborted = True
        connection = self._connection
        channel = None if connection is None else connection._sock
        if channel is not None:
            with suppress(OSError):  # it is closed already
                # Not the method of a TLS socket, which would change it under the thread that reads.
                socket.socket.shutdown(channel, socket.SHUT_RDWR)

    def _command_once(self, *parts: Any) -> Any:
        connection = self._connected()
        connection.send_command(*parts)
        return _read(connection)

    def _run_once(self, build: Callable[[], list[Call]]) -> list[Any]:
        connection = self._connected()
        calls = build()
        replies = self._exchange(connection, calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # The server forgot its scripts (restart, failover, SCRIPT FLUSH). Those of this call that did run
            # answer from their session when they are sent again.
            replies = self._exchange(connection, calls, whole=True)
        for number, reply in enumerate(replies):
            if isinstance(reply, ResponseError):
                replies[number] = self._refused(reply, calls[number][0].name)
        return replies

    def _exchange(self, connection: Connection, calls: list[Call], *, whole: bool = False) -> list[Any]:
        commands = [
            (*(("EVAL", script.text) if whole else ("EVALSHA", script.sha)), len(keys), *keys, *arguments)
            for script, keys, arguments in calls
        ]
        connection.send_packed_command(connection.pack_commands(commands))
        replies = []
        for _ in calls:
            try:
                replies.append(_read(connection))
            except ResponseError as error:
                replies.append(error)
        return replies

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._pool.get_connection()
            try:
                connection.send_command("INFO", "server")
                self.epoch = _run_id(_read(connection))
            except BaseException:
                connection.disconnect()
                self._pool.release(connection)
                raise
            self._connection = connection
        if (
            self._aborted
        ):  # looked at after the connection is known: either this line sees it, or ``abort`` does
            raise RedisConnectionError("closed")
        return self._connection

    def _refused(self, error: ResponseError, script: str) -> RedisUnavailable | ScriptFailed:
        refusal = classify(error, script)
        refusal.__cause__ = error
        if isinstance(refusal, RedisUnavailable) and not isinstance(error, OutOfMemoryError):
            self.disconnect()  # after a failover, or behind a proxy, another server may answer the next connection
        return refusal


def _read(connection: Connection) -> Any:
    """Return the next reply; one that the client cannot even read counts as a broken connection."""
    try:
        return connection.read_response()
    except (RedisError, OSError):
        raise
    except Exception as error:  # bytes that are no text, a type that the protocol does not have
        raise InvalidResponse(f"{type(error).__name__}: {error}") from error


def _run_id(info: Any) -> str:
    """Return the first 8 characters of the run id in the reply to INFO.

    Raises:
      RedisUnavailable: there is none. Without it nobody can tell one life of Redis from the next.
    """
    found = _RUN_ID.search(info) if isinstance(info, bytes) else None
    if found is None:
        raise RedisUnavailable("Redis is not available: its reply to INFO has no run_id")
    return found[1].decode("ascii")

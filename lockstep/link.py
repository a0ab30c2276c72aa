"""One connection to Redis that runs scripts, understands every way it can fail, and may send twice.

A link is used by one thread at a time. Each is a *session*: the scripts remember the last answer given to
it, so that a call whose answer was lost is sent again and changes nothing twice.
"""

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from lockstep.errors import RedisUnavailable, ScriptFailed
from lockstep.scripts import Script
from lockstep.settings import Settings

#: Each try may take half of the time-out, so that one resend fits into it.
_TRIES: Final = 2

#: Words of error replies that say "not now", as opposed to "this script is wrong".
_PASSING: Final = (
    *(
        "OOM ",
        "command not allowed when used memory",
        "LOADING ",
        "BUSY ",
        "MASTERDOWN ",
        "MISCONF ",
        "NOREPLICAS ",
    ),
    *("CLUSTERDOWN ", "TRYAGAIN ", "NOAUTH ", "NOPERM "),
)

#: What OpenSSL calls a certificate that it does not trust, and what can be done about it.
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_UNTRUSTED_HINT: Final = (
    "Name the certificate of who signed it in REDIS_CA_FILE, or set REDIS_TLS_VERIFY=false."
)

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


def unavailable(error: Exception) -> RedisUnavailable:
    """The error that tells callers that Redis cannot work now; never names a password."""
    # Waiting does not help against a certificate that is not trusted: say what does.
    hint = f" {_UNTRUSTED_HINT}" if _UNTRUSTED in str(error) else ""
    return RedisUnavailable(f"Redis is not available: {type(error).__name__}: {error}{hint}")


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
          RedisUnavailable: no answer, or one that says "not now": nothing is known, sending again is safe.
          ScriptFailed: a script broke.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            tries -= 1
            try:
                return self._run_once(build)
            except RedisUnavailable:
                raise  # an answer, though one that says "not now"; it is an OSError too
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                self.disconnect()
                if tries <= 0 or time.monotonic() >= deadline:
                    raise unavailable(error) from error
            except ResponseError as error:
                raise self._translated(error) from error
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
          RedisUnavailable: no answer, or one that says "not now".
        """
        try:
            try:
                return self._command_once(*parts)
            except RedisConnectionError:
                self.disconnect()  # the connection may have died long ago, unused: Redis need not be away
                return self._command_once(*parts)
        except ResponseError as error:
            raise self._translated(error) from error
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
        return connection.read_response()

    def _run_once(self, build: Callable[[], list[Call]]) -> list[Any]:
        connection = self._connected()
        calls = build()
        replies = self._exchange(connection, calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # The server forgot its scripts (restart, failover, SCRIPT FLUSH). Those of this call that did run
            # answer from their session when they are sent again.
            replies = self._exchange(connection, calls, whole=True)
        for (script, _, _), reply in zip(calls, replies, strict=True):
            if isinstance(reply, Exception):
                raise self._translated(reply, script.name) from reply
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
                replies.append(connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._pool.get_connection()
            try:
                connection.send_command("INFO", "server")
                info = bytes(connection.read_response())
            except BaseException:
                connection.disconnect()
                self._pool.release(connection)
                raise
            self.epoch = info.split(b"\nrun_id:", 1)[1][:8].decode()
            self._connection = connection
        if (
            self._aborted
        ):  # looked at after the connection is known: either this line sees it, or ``abort`` does
            raise RedisConnectionError("closed")
        return self._connection

    def _translated(self, error: Exception, script: str = "command") -> Exception:
        text = str(error)
        # An error inside a script wraps the word that says what it was.
        if isinstance(error, OutOfMemoryError) or any(word in text for word in _PASSING):
            return unavailable(error)
        if isinstance(error, ReadOnlyError) or "READONLY " in text:
            self.disconnect()  # after a failover another server may answer under this address
            return unavailable(error)
        return ScriptFailed(script, text)

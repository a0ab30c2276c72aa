"""The address of a Redis server: a URL parsed once, into values that cannot contradict what the code relies on.

No error repeats any part of the URL that may belong to a password. Only names of options are shown, after
user and password were recognized as such.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from lockstep.certificates import certificates_file
from lockstep.hosts import host as parse_host

_DEFAULT_PORT: Final = 6379
_EXPECTED: Final = "expected redis://host:port/db or rediss://host:port/db"
#: Schemes that other programs know, and what to write here.
_OTHER_SCHEMES: Final = {
    "unix": "sockets are not supported: let Redis listen on 127.0.0.1",
    "redis+unix": "sockets are not supported: let Redis listen on 127.0.0.1",
    "redis+socket": "sockets are not supported: let Redis listen on 127.0.0.1",
    "valkey": "write redis:// instead of valkey://",
    "valkeys": "write rediss:// instead of valkeys://",
    "redis+ssl": "write rediss:// instead of redis+ssl://",
    "redis+tls": "write rediss:// instead of redis+tls://",
    "redis+sentinel": "Sentinel is not supported: name the primary",
    "redis-sentinel": "Sentinel is not supported: name the primary",
    "sentinel": "Sentinel is not supported: name the primary",
}
#: The options that a URL may have.
OPTIONS: Final = ("db", "ssl_ca_certs", "ssl_cert_reqs")
_INSTEAD: Final = {
    "timeout": "set REDIS_TIMEOUT",
    "socket_timeout": "set REDIS_TIMEOUT",
    "socket_connect_timeout": "set REDIS_TIMEOUT",
    "ssl": "write rediss:// for TLS",
    "tls": "write rediss:// for TLS",
    "password": "write redis://user:password@host",
    "username": "write redis://user:password@host",
    "ssl_check_hostname": "ssl_cert_reqs=none turns every check off",
}
_CERT_REQS: Final = {
    "none": False,
    "cert_none": False,
    "optional": True,  # for a client the same as required
    "cert_optional": True,
    "required": True,
    "cert_required": True,
}
_DATABASE: Final = re.compile(r"\d{1,9}", re.ASCII)
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
_OPTION_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", re.ASCII)
_ENCODED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AUTHORITY: Final = re.compile(r"(?:(?P<user>.*)@)?(?P<host>\[[^\[\]@]*\]|[^:\[\]@]*)(?::(?P<port>[^:@]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where a Redis server is, who logs in, and how its certificate is checked."""

    host: str
    port: int = _DEFAULT_PORT
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    verified: bool | None = None  #: whether its certificate is checked; None: the URL does not say
    ca_file: str | None = None  #: trusted certificates; None: the URL does not say

    @classmethod
    def parse(cls, text: str) -> "RedisAddress":
        """Read a URL.

        Raises:
          ValueError: it is invalid; without any part of a password.
        """
        scheme, _, rest = text.strip().partition("://")
        tls = _tls(scheme.lower(), rest)
        authority, tail = _split(rest)
        found = _AUTHORITY.fullmatch(authority)
        if found is None or not found["host"]:
            raise ValueError(f"{_EXPECTED}: the host is missing or invalid")
        username, password = _user(found["user"])
        # Before the options, whose names are shown: without a host, what follows a password may be taken for them.
        host, port = _host(found["host"]), _port(found["port"])
        path, _, query = tail.partition("?")
        options = _options(query)
        verified, ca_file = _certificates(options, tls=tls)
        return cls(
            host=host,
            port=port,
            db=_database(path, options.get("db")),
            username=username,
            password=password,
            tls=tls,
            verified=verified,
            ca_file=ca_file,
        )


def _tls(scheme: str, rest: str) -> bool:
    if scheme in _OTHER_SCHEMES and rest:
        raise ValueError(f"{_EXPECTED}: {_OTHER_SCHEMES[scheme]}")
    if scheme not in {"redis", "rediss"}:
        raise ValueError(f"{_EXPECTED}, without quotes")
    if any(not character.isprintable() or character.isspace() for character in rest):
        raise ValueError(f"{_EXPECTED}: blanks and control characters must be percent-encoded")
    return scheme == "rediss"


def _split(rest: str) -> tuple[str, str]:
    """Return user, password, host and port as they were written, and what follows."""
    start = re.search(r"[/?#]", rest)
    authority, tail = (rest[: start.start()], rest[start.start() :]) if start else (rest, "")
    # A password with one of these, or what follows it, must not be taken for a port, a database or an option.
    if "@" in tail or "#" in tail:
        raise ValueError(
            f"{_EXPECTED}: in a user or password, the characters / ? # @ % must be percent-encoded"
        )
    return authority, tail


def _user(text: str | None) -> tuple[str | None, str | None]:
    if not text:
        return None, None
    user, separator, password = text.partition(":")
    if not separator:
        raise ValueError(
            f"{_EXPECTED}: a user without a password; write redis://user:password@host, "
            "or redis://:password@host without a user"
        )
    username = _decoded(user) or None
    # A user may have an empty password. Without a user there is then no login at all.
    return username, _decoded(password) if password or username else None


def _decoded(text: str) -> str:
    if _ENCODED.search(text):
        raise ValueError(f"{_EXPECTED}: a % in a user or password must be written as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"{_EXPECTED}: user and password must be UTF-8") from None


def _host(text: str) -> str:
    if "," in text:
        raise ValueError(f"{_EXPECTED}: one server, several are not supported")
    try:
        return parse_host(text).lower()
    except ValueError:
        raise ValueError(f"{_EXPECTED}: the host is missing or invalid") from None


def _port(text: str | None) -> int:
    if not text:
        return _DEFAULT_PORT
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:  # noqa: PLR2004
        raise ValueError(f"{_EXPECTED}: the port must be a number from 1 to 65535")
    return int(text)


def _database(path: str, option: str | None) -> int:
    numbers = set()
    for text in (path.removeprefix("/") or None, option):
        if text is None:
            continue
        if not _DATABASE.fullmatch(text):
            raise ValueError(f"{_EXPECTED}: the database must be a number, such as /0")
        numbers.add(int(text))
    if len(numbers) > 1:
        raise ValueError(f"{_EXPECTED}: the path and the option db name different databases")
    return numbers.pop() if numbers else 0


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        shown = f"option {name}" if _OPTION_NAME.fullmatch(name) else "an option"
        if name not in OPTIONS:
            instead = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
            raise ValueError(f"{shown} is not supported, only {', '.join(OPTIONS)} are{instead}")
        if name in options:
            raise ValueError(f"{shown} is given twice")
        options[name] = unquote(value)
    return options


def _certificates(options: dict[str, str], *, tls: bool) -> tuple[bool | None, str | None]:
    """Return whether the certificate is checked, and against which file; None for what the URL does not say."""
    given = [name for name in options if name.startswith("ssl_")]
    if given and not tls:
        raise ValueError(f"option {given[0]} needs TLS: write rediss://")
    verified = None
    if "ssl_cert_reqs" in options:
        verified = _CERT_REQS.get(options["ssl_cert_reqs"].lower())
        if verified is None:
            raise ValueError("option ssl_cert_reqs must be required or none")
    ca_file = options.get("ssl_ca_certs")
    if ca_file is None:
        return verified, None
    try:
        return verified, certificates_file(ca_file)
    except ValueError as error:
        raise ValueError(f"option ssl_ca_certs: {error}") from None

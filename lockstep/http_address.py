"""Addresses of receivers: what the HTTP client can send to, refused where it is set and not at each delivery."""

import ipaddress
import re
from typing import Final

_SCHEMES: Final = ("http", "https")
_MOST_PORT: Final = 65535
_MOST_HOST: Final = 253
#: Names as resolvers take them; ``_`` is common in names of containers.
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
#: The part between ``//`` and the path.
_AUTHORITY: Final = re.compile(r"[^/]*//([^/?#]*)(.*)", re.DOTALL)


def http_url(text: str) -> str:
    """Return an http or https address that the HTTP client reads as it is written.

    Raises:
      ValueError: what is wrong with it. No part of it is in the message, since it may hold credentials.
    """
    # Takes a tenth of a second, and most processes have no such setting.
    import httpx  # noqa: PLC0415

    if not text.isprintable() or any(character.isspace() for character in text):
        raise ValueError("expected an address without blanks and control characters")
    try:
        url = httpx.URL(text)
        scheme, host = url.scheme, url.host and url.raw_host.decode("ascii")  # decodes a name only now
    except (httpx.InvalidURL, ValueError):  # its own words quote parts that may be a password
        raise ValueError(
            "expected an http:// or https:// address with a host and, if any, a port from 1 to 65535; "
            "in a user name or password, percent-encode / ? # @ and :"
        ) from None
    if scheme not in _SCHEMES or not host:
        raise ValueError("expected an http:// or https:// address")
    _check_authority(text)
    _check_host(host)
    return text


def _check_authority(text: str) -> None:
    """The client hides a default port and takes what it can of the rest, so these are read from the text."""
    split = _AUTHORITY.match(text)
    authority, rest = (split[1], split[2]) if split else ("", "")
    user, at, address = authority.rpartition("@")
    if "@" in user or (not at and ":" in address.rpartition("]")[2] and "@" in rest):
        # As in http://user:12/34@host: the host would be `user`, and the message would go there.
        raise ValueError("expected / ? # and @ of a user name or password to be percent-encoded")
    if "\\" in authority:
        raise ValueError("expected no backslash before the path")
    _, colon, port = address.rpartition("]")[2].partition(":")
    if colon and not (port.isascii() and port.isdigit() and 1 <= int(port) <= _MOST_PORT):
        raise ValueError("expected a port from 1 to 65535")


def _check_host(host: str) -> None:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("expected an IPv6 address between the brackets") from None
    elif len(host) > _MOST_HOST or not _NAME.fullmatch(host):
        raise ValueError(
            "expected a host of letters, digits, '-', '_' and '.', or an IPv6 address in brackets"
        )

"""Requests as RFC 9112 allows them, beyond what h11 takes: empty lines before one, and all forms of its target."""

import re
from typing import Any, Final

import h11

#: ``http://host:port/path?query``: the absolute form, as clients send it to proxies. A server must take it, too.
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@\\]+)((?:[/?][^#]*)?)", re.IGNORECASE)

#: A host, as a name or an address, and its port.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?", re.ASCII
)

#: A line that continues the header before it.
_FOLDED: Final = re.compile(rb"\n[ \t]")


class Requests(h11.Connection):
    """The server's side of one connection."""

    def next_event(self) -> Any:
        """Return the next event. The target of a request is a path, ``*`` or, of CONNECT, an authority.

        Raises:
          RemoteProtocolError: this is not HTTP.
        """
        if self.their_state is h11.IDLE and not self._skip_empty_lines():
            return h11.NEED_DATA
        event = super().next_event()
        return _checked(event) if isinstance(event, h11.Request) else event

    def _skip_empty_lines(self) -> bool:
        """Drop the empty lines before a request; returns whether what follows can be read now."""
        buffer = self._receive_buffer
        while (start := bytes(buffer)[:2]) and start[:1] in b"\r\n":
            if start == b"\r" and not self.trailing_data[1]:
                return False  # the rest of the line is on its way
            if start[:1] == b"\r" and start != b"\r\n":
                break
            buffer.maybe_extract_at_most(2 if start == b"\r\n" else 1)
        head, found, _ = bytes(buffer).partition(b"\r\n\r\n")
        if found and _FOLDED.search(head):
            raise h11.RemoteProtocolError("folded header lines are not supported")
        return True


def _checked(request: h11.Request) -> h11.Request:
    """Return a request whose target is in the form that the application reads.

    Raises:
      RemoteProtocolError: it may not be sent like this.
    """
    headers = dict(request.headers)
    if b"transfer-encoding" in headers and (b"content-length" in headers or request.http_version == b"1.0"):
        # Another server on the way may have read the other length, and taken the rest for a request (smuggling).
        raise h11.RemoteProtocolError("the length of the body is ambiguous")
    host, target = _target(request, headers.get(b"host"))
    if host is not None and not _HOST.fullmatch(host):
        raise h11.RemoteProtocolError("illegal host")
    if target is request.target:
        return request
    # What the target names counts, whatever the header says.
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=target,
        headers=[(b"host", host or b""), *others],
        http_version=request.http_version,
    )


def _target(request: h11.Request, host: bytes | None) -> tuple[bytes | None, bytes]:
    """Return the host that is asked, and the target without it."""
    target: bytes = request.target
    if request.method == b"CONNECT" or (target[:1] == b"/" and b"#" not in target):
        return host, target
    if target == b"*" and request.method == b"OPTIONS":
        return host, target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise h11.RemoteProtocolError("illegal request target")
    host, path = absolute.groups()
    if not path and request.method == b"OPTIONS":
        return host, b"*"  # of the whole server
    return host, path if path[:1] == b"/" else b"/" + path

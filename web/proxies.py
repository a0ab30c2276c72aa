"""Signs that a request came through a proxy: without API keys, such a request may come from anywhere.

A proxy on this machine connects from a loopback address, so the address says nothing about its clients. Most proxies
add a header. One that adds none and keeps ``Host`` local cannot be told from a client of this machine, except that
nginx before 1.29.7 sends HTTP/1.0 with ``Connection: close``, which HTTP/1.0 clients have no reason to send.
"""

from collections.abc import Iterable
from typing import Final

from starlette.requests import Request

#: Headers that proxies, load balancers, tunnels and content delivery networks add.
_HEADERS: Final = frozenset(
    {
        *("forwarded", "forwarded-for", "forwarded-host", "forwarded-proto", "via", "cdn-loop"),
        *("client-ip", "remote-addr", "true-client-ip", "wl-proxy-client-ip", "proxy-client-ip", "proxy-connection"),
        *("x-real-ip", "x-real-port", "x-client-ip", "x-client-host", "x-cluster-client-ip", "x-remote-ip"),
        *("x-remote-addr", "x-remote-host", "x-proxyuser-ip", "x-proxy", "x-nginx-proxy", "x-host", "x-scheme"),
        *("x-url-scheme", "x-request-start", "x-arr-ssl", "x-arr-log-id", "x-cloud-trace-context", "front-end-https"),
        *("x-iisnode-auth_user", "x-haproxy-server-state", "x-coming-from", "z-forwarded-for", "akamai-origin-hop"),
    }
)  # fmt: skip

#: How the names of such headers begin.
_PREFIXES: Final = (
    *(
        "x-forwarded",
        "x-original-",
        "x-proxy-",
        "x-envoy-",
        "x-amzn-",
        "x-appengine-",
        "x-azure-",
        "x-vercel-",
    ),
    *(
        "cf-",
        "fly-",
        "fastly-",
        "cloudfront-",
        "tailscale-",
        "ngrok-",
        "x-akamai-",
        "x-traefik-",
        "x-varnish",
    ),
)


def sign_of_proxy(request: Request) -> str | None:
    """Return what shows that a proxy passed the request on; None if nothing does."""
    names: Iterable[str] = request.headers.keys()  # in lower case
    for name in names:
        if name in _HEADERS or name.startswith(_PREFIXES):
            return name
    if request.scope.get("http_version") == "1.0":
        options = request.headers.get("connection", "").lower().split(",")
        if "close" in map(str.strip, options):
            return "connection: close in HTTP/1.0"
    return None

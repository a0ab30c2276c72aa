"""Signs that a request came through a proxy: without API keys, such a request may come from anywhere.

A proxy on this machine connects from a loopback address, so the address says nothing about its clients. Most proxies
add a header. One that adds none and keeps ``Host`` local cannot be told from a client of this machine, except that
nginx before 1.29.7 sends HTTP/1.0 with ``Connection: close``, which HTTP/1.0 clients have no reason to send.
"""

from collections.abc import Iterable
from typing import Final

from starlette.requests import Request

#: Headers that proxies, load balancers, tunnels, content delivery networks and login pages before an application add.
_HEADERS: Final = frozenset(
    {
        *("via", "x-via", "x-bluecoat-via", "cdn-loop", "do-connecting-ip", "ali-cdn-real-ip", "x-amz-cf-id"),
        *("client-ip", "remote-addr", "true-client-ip", "x-true-client-ip", "wl-proxy-client-ip", "proxy-client-ip"),
        *("x-client-ip", "x-client-host", "x-cluster-client-ip", "incap-client-ip", "x-sucuri-clientip"),
        *("x-source-ip", "x-user-ip", "x-nf-client-connection-ip", "proxy-connection", "remote-user"),
        *("x-proxyuser-ip", "x-proxy", "x-proxied-by", "x-nginx-proxy", "x-host", "x-scheme", "x-url-scheme"),
        *("x-request-start", "x-arr-ssl", "x-arr-log-id", "x-cloud-trace-context", "front-end-https"),
        *("x-iisnode-auth-user", "x-haproxy-server-state", "x-coming-from", "z-forwarded-for", "akamai-origin-hop"),
        *("x-webauth-user", "x-ms-client-principal"),
    }
)  # fmt: skip

#: How the names of such headers begin.
_PREFIXES: Final = (
    *("forwarded", "x-forward", "x-original-", "x-originating-", "x-real-", "x-remote-", "x-proxy-", "x-varnish"),
    *("x-envoy-", "x-traefik-", "x-amzn-", "x-appengine-", "x-azure-", "x-vercel-", "x-fastly-", "x-akamai-"),
    *("cf-", "fly-", "fastly-", "cloudfront-", "tailscale-", "ngrok-"),
    *("x-auth-request-", "x-pomerium-", "x-authentik-", "x-goog-authenticated-user-"),
)  # fmt: skip


def sign_of_proxy(request: Request) -> str | None:
    """Return what shows that a proxy passed the request on; None if nothing does."""
    names: Iterable[str] = request.headers.keys()  # in lower case
    for name in names:
        # Gateways write either, and servers that turn headers into variables read either.
        plain = name.replace("_", "-")
        if plain in _HEADERS or plain.startswith(_PREFIXES):
            return name
    if request.scope.get("http_version") == "1.0":
        options = ",".join(request.headers.getlist("connection")).lower().split(",")
        if "close" in map(str.strip, options):
            return "connection: close in HTTP/1.0"
    return None

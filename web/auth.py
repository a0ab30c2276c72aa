"""Who may call: API keys with scopes, or, without any key, only this machine."""

import hmac
from collections.abc import Iterable
from typing import Final

from starlette.requests import Request

from lockstep.api_keys import ApiKey
from lockstep.errors import Forbidden, InvalidSettings, Unauthorized
from lockstep.parsing import is_loopback
from lockstep.settings import Settings
from web.problems import Problem
from web.proxies import sign_of_proxy

#: What a proxy may ask to find out whether this process serves: it tells and changes nothing else.
_HEALTH: Final = frozenset({"/livez", "/readyz"})


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond this machine without API keys.

    Raises:
      InvalidSettings: HOST is not a loopback address and API_KEYS is empty.
    """
    if not settings.api_keys and not is_loopback(settings.bind_host):
        raise InvalidSettings({"HOST": f"{settings.bind_host} can be reached by others: set API_KEYS"})


def check_local(request: Request, settings: Settings) -> None:
    """Without API keys, answer this machine only.

    The client must be local, and so must the name it calls us by: a web page may point its own name at
    127.0.0.1 (DNS rebinding), and a proxy on this machine passes on what came from elsewhere. Nor may a page
    from elsewhere let the browser of somebody here press an operator's switch: browsers name it as ``Origin``.

    Raises:
      Problem: 403.
    """
    if settings.api_keys:
        return
    client = request.client.host if request.client else None
    hosts = request.headers.getlist(
        "host"
    )  # an HTTP/1.0 client may name none; every browser and proxy names one
    names = [*hosts, *map(_host_of, request.headers.getlist("origin"))]
    if not all(map(_local_name, names)) or (client is not None and not is_loopback(client)):
        raise Problem(403, "Without API_KEYS only this machine is answered, under the name localhost.")
    sign = sign_of_proxy(request)
    if sign is not None and request.scope.get("lockstep.route") not in _HEALTH:
        raise Problem(
            403,
            f"Without API_KEYS only this machine is answered, and this came through a proxy ({sign}): set API_KEYS.",
        )


def authorize(request: Request, settings: Settings, scope: str) -> None:
    """Check that the request carries an API key with ``scope``; without any configured, all may call.

    Raises:
      Unauthorized: no key, or one that is not known.
      Forbidden: the key lacks the scope.
    """
    if not settings.api_keys:
        return
    key = _known_key(_presented(request), settings.api_keys.values())
    if key is None:
        raise Unauthorized("this needs an API key: Authorization: Bearer SECRET")
    if scope not in key.scopes:
        raise Forbidden(scope)


def check_token(request: Request, token: str | None) -> None:
    """Check the bearer token of a scraper; without one configured, all may scrape.

    Raises:
      Unauthorized: it is missing or wrong.
    """
    if token and not hmac.compare_digest(_presented(request), token.encode()):
        raise Unauthorized("this needs the metrics token: Authorization: Bearer TOKEN")


def _presented(request: Request) -> bytes:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        secret = request.headers.get("x-api-key", "")
    return secret.strip().encode("latin-1")  # the bytes that came: header text is latin-1


def _known_key(secret: bytes, keys: Iterable[ApiKey]) -> ApiKey | None:
    found = None
    for key in keys:  # all of them, so that the time taken tells nothing
        if hmac.compare_digest(secret, key.secret.encode()):
            found = key
    return found


def _host_of(origin: str) -> str:
    return origin.partition("://")[2]  # nothing for "null", the origin of who will not tell


def _local_name(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name.lower())

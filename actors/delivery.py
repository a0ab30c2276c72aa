"""Posts a message to the destination of its instance.

One HTTP client a process, shared by its threads. Delivery is at least once: the process may die, or the
answer be lost, after the receiver took the message. So every attempt carries the message id as
``webhook-id`` and ``Idempotency-Key``, and a receiver that remembers ids takes each message once.
"""

import logging
import os
import string
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import structlog

from actors.answers import DeliveryError, check
from actors.signing import signature
from lockstep import parsing
from lockstep.errors import InvalidSettings
from lockstep.settings import Settings

#: Seconds to open a connection, at most; DELIVERY_TIMEOUT counts too when it is shorter.
CONNECT_TIMEOUT: Final = 5.0
#: Redirects that keep the method and the body, followed within the same scheme, host and port.
REDIRECTS: Final = frozenset({301, 302, 307, 308})
MOST_REDIRECTS: Final = 3
#: Bytes of an answer that are read, so that its connection can be used again; the rest is dropped.
MOST_ANSWER_BYTES: Final = 65_536
#: What an HTTP client of ``httpx`` reads from the environment.
_CLIENT_VARIABLES: Final = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
_HEADER_SAFE: Final = string.punctuation.replace("%", "")

# Both log whole URLs, which may hold a token.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# A delivery carries nothing over to the next one.
_NO_COOKIES: Final = DefaultCookiePolicy(allowed_domains=())

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One attempt to deliver one message."""

    id: str
    instance_id: str
    body: bytes  #: the JSON text that is posted and signed
    headers: Mapping[str, str] = field(default_factory=dict)


class Deliverer:
    """Delivers messages as the settings say; safe to share between threads.

    Raises:
      InvalidSettings: DELIVERY_ROUTES_FILE cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._routes = _read_routes(settings.delivery_routes_file)
        self._default_url = settings.delivery_url
        self._secret = settings.delivery_secret
        self._timeout = settings.delivery_timeout
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def destination(self, instance_id: str) -> str | None:
        """The URL that messages of an instance go to; its own route counts before DELIVERY_URL."""
        return self._routes.get(instance_id, self._default_url)

    def deliver(self, message: Outgoing) -> dict[str, object]:
        """Post ``message``, once, and return what became of it, without its content.

        Raises:
          Permanent: the receiver refused it for good.
          Retry: the receiver asked to wait.
          DeliveryError: anything else; it may or may not have arrived.
        """
        url = self.destination(message.instance_id)
        if url is None:
            _log.info("delivery.skipped", message_id=message.id, reason="no destination")
            return {"delivered": False, "reason": "no destination"}
        target = httpx.URL(url)
        host = target.netloc.decode()
        try:
            # The process may die here, or the answer be lost: the receiver then sees the same id again.
            response = self._post(target, message)
        except DeliveryError:
            raise
        except (
            Exception
        ) as error:  # a receiver may answer any bytes, and not all that fails has a class of httpx
            # The text of others may be of a proxy in the environment, with its password.
            told = f": {error}" if isinstance(error, httpx.TransportError) else ""
            raise DeliveryError(f"{host} did not answer: {type(error).__name__}{told}") from error
        check(response, host)
        return {"delivered": True, "status": response.status_code, "host": host}

    def check_environment(self) -> None:
        """Return when a client can be made: proxies and certificates come from the environment.

        Raises:
          InvalidSettings: no message could be posted; it names the variables that are set.
        """
        if not (self._default_url or self._routes):
            return
        try:
            _new_client().close()
        except Exception as error:  # an unknown scheme, a missing library, an invalid address
            names = [name for name in os.environ if name.upper() in _CLIENT_VARIABLES and os.environ[name]]
            # The text of other errors may hold a password.
            problem = str(error) if isinstance(error, ImportError | OSError) else type(error).__name__
            if any(name.upper() == "NO_PROXY" and "[" in os.environ[name] for name in names):
                problem += " (write IPv6 addresses in NO_PROXY without brackets)"
            told = f"the HTTP client for deliveries cannot be made of these: {problem}"
            raise InvalidSettings({", ".join(sorted(names)) or "DELIVERY_URL": told}) from None

    def close(self) -> None:
        """Close all connections; a later delivery opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _post(self, url: httpx.URL, message: Outgoing) -> httpx.Response:
        deadline = time.monotonic() + self._timeout
        headers = {**message.headers, **self._headers(message)}
        for _ in range(MOST_REDIRECTS + 1):
            left = max(deadline - time.monotonic(), 0.001)
            timeout = httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT))
            with self._open().stream(
                "POST", url, content=message.body, headers=headers, timeout=timeout, follow_redirects=False
            ) as response:
                _drain(response, deadline)
            if response.status_code not in REDIRECTS:
                return response
            url = _redirected(response, url)
        raise DeliveryError(f"{url.netloc.decode()} redirected more than {MOST_REDIRECTS} times")

    def _headers(self, message: Outgoing) -> dict[str, str]:
        # An id may be any text; a header is printable ASCII. The percent sign is encoded too, so that no two
        # ids look the same.
        header_id = quote(message.id, safe=_HEADER_SAFE)
        headers = {
            "content-type": "application/json",
            "user-agent": "lockstep",
            "webhook-id": header_id,
            "idempotency-key": header_id,
        }
        if self._secret:
            now = int(time.time())
            headers["webhook-timestamp"] = str(now)
            headers["webhook-signature"] = signature(
                self._secret, message_id=header_id, timestamp=now, body=message.body
            )
        return headers

    def _open(self) -> httpx.Client:
        # Made at the first delivery: processes that only enqueue do not pay for it, and none forks with it.
        with self._lock:
            if self._client is None:
                self._client = _new_client()
            return self._client


def _new_client() -> httpx.Client:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx.Client(limits=limits, cookies=CookieJar(_NO_COOKIES))


def _drain(response: httpx.Response, deadline: float) -> None:
    """Read what little is left, raw: the status has decided, so trouble after it changes nothing."""
    size = 0
    try:
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > MOST_ANSWER_BYTES or time.monotonic() > deadline:
                return
    except Exception:  # as broken as it likes
        return


def _redirected(response: httpx.Response, url: httpx.URL) -> httpx.URL:
    """Where a redirect leads: another path of the same scheme, host and port, or nowhere."""
    refused = f"{url.netloc.decode()} answered {response.status_code}"
    locations = [one for one in response.headers.get_list("location") if one.strip()]
    if len(locations) != 1:
        raise DeliveryError(f"{refused} with {len(locations) or 'no'} location{'s' * (len(locations) > 1)}")
    target = url.join(locations[0])  # httpx refused what is no URL
    if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
        raise DeliveryError(f"{refused} with a location on another host, which is not followed")
    # Only the path is taken over, so the message cannot leave the host, and credentials in the URL stay.
    return url.copy_with(raw_path=target.raw_path)


def _read_routes(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return parsing.routes(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSettings({"DELIVERY_ROUTES_FILE": str(error)}) from error

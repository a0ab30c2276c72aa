"""What a receiver's status means to a message: delivered, never again, or later."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
from dramatiq import Retry

from lockstep.errors import Permanent

#: Refusals that may pass: a proxy's demand for credentials, time-out, conflict, too early, too many requests.
RETRIED_4XX: Final = frozenset({407, 408, 409, 425, 429})
#: Answers whose ``Retry-After`` says when to come back.
ASKS_TO_WAIT: Final = frozenset({429, 503})
#: Seconds; a receiver cannot hold a group longer than this with one answer.
MOST_RETRY_AFTER: Final = 3600.0


class DeliveryError(Exception):
    """The destination did not take the message this time; another attempt may succeed."""


def check(response: httpx.Response, host: str) -> None:
    """Return if the message was taken.

    Raises:
      Permanent: the receiver refuses the message for good.
      Retry: the receiver said when to try again.
      DeliveryError: try again by the actor's own back-off.
    """
    status = response.status_code
    if response.is_success:
        return
    refusal = f"{host} answered {status}"
    if response.is_client_error and status not in RETRIED_4XX:
        raise Permanent(refusal, code=f"http_{status}")
    if status in ASKS_TO_WAIT and (delay := wait_ms(response.headers.get("retry-after"))):
        raise Retry(refusal, delay=delay)
    raise DeliveryError(refusal)


def wait_ms(retry_after: str | None) -> int | None:
    """Milliseconds that a ``Retry-After`` (seconds or an HTTP date) asks for, at most an hour.

    None if it asks for no wait, or for nothing that can be read: the actor's own back-off counts then.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
            # An HTTP date is always in GMT; one that names no zone is read the same way.
            seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
        except Exception:  # its parser indexes into whatever came, and times have limits of their own
            return None
    return max(0, int(min(seconds, MOST_RETRY_AFTER) * 1000)) or None

"""Signatures as in Standard Webhooks: a receiver can check who sent a message and that it is unchanged."""

import base64
import hashlib
import hmac


def signature(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature`` over exactly these bytes.

    ``secret`` is ``whsec_`` and base64, or the base64 alone; ``timestamp`` is in seconds since 1970.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()

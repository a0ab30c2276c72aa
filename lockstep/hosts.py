"""Host names and IP addresses in settings."""

import ipaddress
import re
from typing import Final

#: Letters, digits, hyphens, and underscores, which names of containers may have.
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?", re.ASCII)
#: Characters that a host name may have.
_LONGEST: Final = 253


def host(text: str) -> str:
    """Return a host name or an IP address without brackets.

    Raises:
      ValueError: it is neither. The message does not repeat the text, which may be part of a password.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or bare != text:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            raise ValueError("expected a host name or an IP address, without a port") from None
        return bare
    if len(bare) > _LONGEST or ".." in bare or not _NAME.fullmatch(bare):
        raise ValueError("expected a host name or an IP address")
    return bare

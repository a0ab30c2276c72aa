"""Classifies error replies of Redis by their class and by their origin: the words of a message prove nothing.

A server in maintenance, a failover, a proxy or a hosted service can refuse any command with any text. So an error is
a defect of a script only if the server reports that it comes from inside one of our scripts, and if it is not about the
state of the server. Everything else means "unavailable, try again".
"""

import re
from typing import Final

from redis.exceptions import ResponseError

from lockstep.errors import RedisUnavailable, ScriptFailed

#: How servers mark an error from inside a script, at the end: Redis 7 and later with the SHA-1, Valkey 9 without.
_INSIDE: Final = re.compile(r"script: (?:[0-9a-f]{40}, )?on @user_script:\d+\.?\s*$")

#: The same, of Redis 6: at the beginning. Dragonfly leaves the ``f_`` out.
_INSIDE_FIRST: Final = re.compile(r"^(?:ERR )?Error running script \(call to (?:f_)?[0-9a-f]{40}\)")

#: A script that the server cannot compile never ran. All servers use these words.
_UNCOMPILED: Final = re.compile(r"^(?:ERR )?Error compiling script")

#: Redis 6 puts the place in the script before the error that it wraps, sometimes twice.
_PLACES: Final = re.compile(r"^.*@?user_script: ?\d+: -?")

#: The code that begins an error reply. The client strips it for the classes that it knows.
_CODE: Final = re.compile(r"^-?([A-Z][A-Z_]+) ")

#: Codes of an error that the script itself caused; any other code is about the state of the server.
_DEFECTS: Final = frozenset({"ERR", "WRONGTYPE"})

#: A server reports that its user may not run a command of a script without a code of its own.
_DENIED: Final = ("ACL failure in script", "The user executing the script can't")

#: What OpenSSL calls a certificate that it does not trust, and what can be done about it.
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_UNTRUSTED_HINT: Final = (
    "Name the certificate of who signed it in REDIS_CA_FILE, or set REDIS_TLS_VERIFY=false."
)


def unavailable(error: Exception) -> RedisUnavailable:
    """Return the error that tells callers that Redis cannot work now; it never names a password."""
    # Waiting does not help against a certificate that is not trusted: name what does.
    hint = f" {_UNTRUSTED_HINT}" if _UNTRUSTED in str(error) else ""
    return RedisUnavailable(f"Redis is not available: {type(error).__name__}: {error}{hint}")


def classify(error: ResponseError, script: str) -> RedisUnavailable | ScriptFailed:
    """Return what an error reply means to callers; ``script`` names what was called."""
    return ScriptFailed(script, str(error)) if is_defect(error) else unavailable(error)


def is_defect(error: ResponseError) -> bool:
    """Return whether a script of ours caused this error, so that waiting does not help."""
    text = str(error)
    if _UNCOMPILED.match(text):
        return True
    if not (_INSIDE.search(text) or _INSIDE_FIRST.match(text)):
        return False
    # The client has a class for most errors about the state of a server: no memory, read only, no permission.
    if type(error) is not ResponseError:
        return False
    cause = _PLACES.sub("", text) if _INSIDE_FIRST.match(text) else text
    code = _CODE.match(cause)
    return (code is None or code[1] in _DEFECTS) and not any(words in cause for words in _DENIED)

"""Files of trusted certificates."""

import ssl


def certificates_file(path: str) -> str:
    """Return the path of a file that has at least one certificate.

    Raises:
      ValueError: there is no such file, or it has none. No connection could be made with it.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:  # OpenSSL's own errors are OSErrors too
        raise ValueError(f"expected a file of certificates (PEM): {_reason(error)}") from None
    return path


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "it has none"
    return f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else "that is no path"

"""TLS: the certificate and key that uvicorn is to use."""

from __future__ import annotations

import ssl
from typing import Any

from ragapp.config import ServerTable
from ragapp.errors import ConfigError


def tls_options(settings: ServerTable) -> dict[str, Any]:
    """What uvicorn is told; nothing without a certificate. Raises ConfigError for files that cannot be used."""
    if not settings.tls_certificate:
        if settings.tls_key:
            raise ConfigError(
                "[server] tls_key is set, and tls_certificate is not.", "Name the certificate's file as well."
            )
        return {}
    certificate, key = settings.tls_certificate, settings.tls_key or None
    try:
        # Without a password, or a key that has one would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        files = certificate if key is None else f"{certificate} and {key}"
        why = getattr(error, "reason", None) or error.strerror or error
        raise ConfigError(
            f"The TLS certificate cannot be used ({files}): {why}.",
            "Both are files in PEM format; the key must fit the certificate and have no password.",
        ) from error
    return {"ssl_certfile": certificate, "ssl_keyfile": key}

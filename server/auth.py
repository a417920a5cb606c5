"""Who may ask: a bearer key, or, without one, only programs of this machine.

A server on loopback is still within reach of every web page its user opens. A page can point its own host name at
127.0.0.1 (DNS rebinding), so the Host header must name this machine; and it can post across sites, so an Origin
header must too. With a key neither matters, because a page does not know the key.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ragapp.config import ServerTable
from ragapp.errors import ConfigError
from ragapp.server.errors import ErrorTable, Refusal

OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class Guard:
    """ASGI middleware: everything but the health checks wants the key; without a key, a caller from this machine."""

    def __init__(self, app: ASGIApp, settings: ServerTable, table: ErrorTable) -> None:
        self._app = app
        self._key = settings.api_key.encode()
        self._host = settings.host
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except Refusal as refusal:
                await self._table.response(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        if path in OPEN_PATHS:
            return
        if self._key:
            self._check_key(headers.get("authorization", ""))
        else:
            self._check_local(headers)

    def _check_key(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        # Both are compared whole and in constant time, so that the time of a refusal tells nothing about the key.
        if hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._key) and scheme.lower() == "bearer":
            return
        message = "The API key is wrong." if given else "An API key is needed."
        raise Refusal(
            401,
            "invalid_api_key",
            message,
            "Send the header Authorization: Bearer KEY.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _check_local(self, headers: Headers) -> None:
        host = _host_of(f"//{headers.get('host', '')}")
        if not (is_loopback(host) or (host and host == self._host.lower())):
            raise Refusal(
                403,
                "host_not_allowed",
                "The Host header does not name this machine.",
                "Use http://127.0.0.1, or set [server] api_key to serve under other names.",
            )
        origin = headers.get("origin")
        if origin is not None and not is_loopback(_host_of(origin)):
            raise Refusal(
                403,
                "origin_not_allowed",
                "Pages of other sites may not ask this server.",
                "Set [server] api_key, and send it.",
            )


def is_loopback(host: str) -> bool:
    """Whether a host name or address, written without brackets, can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(settings: ServerTable) -> None:
    """Raise ConfigError for an address that others can reach when there is no key to keep them out."""
    if not settings.api_key and not is_loopback(settings.host):
        raise ConfigError(
            f"The address {settings.host!r} can be reached from other machines, and no api_key is set.",
            "Set [server] api_key (RAGAPP_SERVER_API_KEY), or listen on 127.0.0.1.",
        )


def _host_of(url: str) -> str:
    """The host of a URL in small letters, without brackets and port; empty when there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

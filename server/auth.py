"""Who may ask what: a bearer key, or, without any, only programs of this machine.

A key is the one of the settings, which may do everything, or one of the keyring, with its scope and its collections.
As soon as there ever was a key, everybody needs one, and so does everybody on an address that other machines reach.

A server on loopback is still within reach of every web page its user opens. A page can point its own host name at
127.0.0.1 (DNS rebinding), so the Host header must name this machine; it can post across sites, so an Origin header
must too; and it can show our pictures as its own, so a browser that says where a request comes from is believed. With a
key none of it matters, because a page does not know the key.

``request.state.key`` is the Key that asks, None where none is needed. A room whose body names a collection calls
``allow``; one that changes something may call ``changed`` to say in the log of changes what it was.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragapp import keyring
from ragapp.config import ServerTable
from ragapp.desk import Desk
from ragapp.errors import ConfigError, LibraryError, RagappError
from ragapp.keyring import AuditLog, Key, Keyring
from ragapp.server.errors import Refusal

if TYPE_CHECKING:
    from ragapp.server.house import House

log = logging.getLogger("ragapp.server")

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
WINDOW = "/web/"
# What only asks although it is posted. The body says of which collection, so the room itself must call ``allow``.
ASKING = frozenset({"/v1/chat/completions", "/v1/ask", "/v1/search"})
READING = frozenset({*ASKING, "/v1/embeddings", "/mcp"})
OWN = "/v1/conversations"  # a conversation is its owner's, who may write it without changing the library
# What belongs to no collection, and the tools, each of which calls ``allow``.
UNBOUND = frozenset({"/v1/collections", "/v1/models", "/v1/embeddings", "/mcp", "/metrics", "/openapi.json"})

# The key of the settings. Its conversations are those of a server without keys: both mean the one who runs it.
SETTINGS_KEY = Key("", "settings", "write")

LOOK_S = 1.0  # between two looks whether the key of a stream is still good
_ID = re.compile(r"[0-9a-f]{8,64}")


class Guard:
    """ASGI middleware: lets in who may, and writes down what was changed."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._settings = house.settings
        self._keyring = house.keyring
        self._table = house.table
        self._default = house.default.name
        self._audit = AuditLog(house.default.desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            key = self._admit(scope)
        except RagappError as error:  # a refusal of ours, or a desk that cannot be read
            await self._table.response(error)(scope, receive, send)
            return
        scope.setdefault("state", {}).update(key=key, unchecked=_is_unchecked(key, scope["path"]))
        if key is not None:
            await self._touch(key)
        await self._app(scope, receive, _Watch(self, scope, receive, send).send)

    def _admit(self, scope: Scope) -> Key | None:
        """The key of a request that may be answered, None where it needs none. Raises Refusal."""
        path, headers = scope["path"], Headers(scope=scope)
        if path in OPEN_PATHS:
            return None
        if not self._wants_key():
            _check_local(headers, self._settings.host)
            return None
        if _is_window(path):
            return None
        key = self._key_of(headers.get("authorization", ""))
        _check_scope(key, scope["method"], path)
        _check_collections(key, path, QueryParams(scope["query_string"]), self._default)
        return key

    def _wants_key(self) -> bool:
        settings = self._settings
        return bool(settings.api_key) or not is_loopback(settings.host) or self._keyring.is_used()

    def _key_of(self, authorization: str) -> Key:
        """The good key in the header. Raises Refusal."""
        scheme, _, given = authorization.partition(" ")
        given, wanted = given.strip(), self._settings.api_key.encode()
        # Both are compared whole and in constant time, so that the time of a refusal tells nothing about the key.
        is_settings = hmac.compare_digest(given.encode("latin-1", "replace"), wanted) and bool(wanted)
        key = SETTINGS_KEY if is_settings else self._keyring.find(given)
        if key is not None and scheme.lower() == "bearer":
            return key
        raise Refusal(
            401,
            "invalid_api_key",
            "The API key is wrong." if given else "An API key is needed.",
            "Send the header Authorization: Bearer KEY.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    async def _touch(self, key: Key) -> None:
        if key is SETTINGS_KEY or not self._keyring.is_stale(key):
            return
        try:
            await asyncio.to_thread(self._keyring.touch, key)
        except LibraryError as error:  # nobody is turned away for it
            log.warning("The use of the key %s could not be noted: %s", key.name, error)

    def is_good(self, key: Key) -> bool:
        """Whether a key that was let in still is one."""
        return key is SETTINGS_KEY or self._keyring.is_live(key.id)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a room that has not said which collection its answer is from, to one who may not see all."""
        refusal = _insufficient("This key is for certain collections, and it is not known which one was asked.")
        await self._table.response(refusal)(scope, receive, send)

    async def note(self, scope: Scope) -> None:
        """Write down a change that was made."""
        state = scope["state"]
        action, what = f"{scope['method']} {_route(scope)}", state.get("changed") or _what(scope, self._default)
        try:
            await asyncio.to_thread(self._audit.note, state["key"], action, what, str(state.get("request_id", "")))
        except LibraryError as error:  # it is made, whether or not it can be noted
            log.error("A change could not be noted (%s): %s", action, error)


class _Watch:
    """Looks at an answer while it is sent."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard, self._scope, self._receive, self._send = guard, scope, receive, send
        self._looked = time.monotonic()
        self._over = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message["status"])
        elif not self._over and self._is_revoked():
            # A stream may go on for days. Its end is a whole one, and does not say why.
            self._over = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        if not self._over:
            await self._send(message)

    async def _begin(self, status: int) -> None:
        if self._scope["state"]["unchecked"] and status < 400:
            self._over = True
            await self._guard.refuse(self._scope, self._receive, self._send)
        elif status < 300 and needed(self._scope["method"], self._scope["path"]) == "write":
            await self._guard.note(self._scope)

    def _is_revoked(self) -> bool:
        """Whether the key was revoked since the answer began; looked up now and then."""
        now, key = time.monotonic(), self._scope["state"]["key"]
        if key is None or now - self._looked < LOOK_S:
            return False
        self._looked = now
        return not self._guard.is_good(key)


def needed(method: str, path: str) -> keyring.Scope:
    """The scope that a request needs."""
    is_own = path == OWN or path.startswith(f"{OWN}/")
    return "read" if method in ("GET", "HEAD", "OPTIONS") or path in READING or is_own else "write"


def allow(request: Request, collection: str) -> None:
    """Raise Refusal (403) unless the key that asks covers a collection."""
    key: Key | None = getattr(request.state, "key", None)
    if key is not None and not key.covers(collection):
        raise _not_covered(collection)
    request.state.unchecked = False


def owner_of(request: Request) -> str:
    """Whose conversations a request may see: the id of its key, "" where it has none or that of the settings."""
    key: Key | None = getattr(request.state, "key", None)
    return key.id if key is not None else ""


def changed(request: Request, what: str) -> None:
    """Say what a request changes, for the log of changes, which outlives documents: ids rather than names."""
    request.state.changed = what


def is_loopback(host: str) -> bool:
    """Whether a host name or address, written without brackets, can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(settings: ServerTable, library: Path | None = None) -> None:
    """Raise ConfigError for an address that others can reach when there is no key to keep them out, neither in the
    settings nor in the keyring of the library's folder."""
    if settings.api_key or is_loopback(settings.host) or (library is not None and _has_key(library)):
        return
    raise ConfigError(
        f"The address {settings.host!r} can be reached from other machines, and no api_key is set.",
        "Make a key with `ragapp keys add NAME`, set [server] api_key (RAGAPP_SERVER_API_KEY), or listen on 127.0.0.1.",
    )


def _has_key(library: Path) -> bool:
    with closing(Desk(library)) as desk:
        return Keyring(desk).has_live()


def _is_window(path: str) -> bool:
    return path == "/" or path.startswith(WINDOW)


def _is_unchecked(key: Key | None, path: str) -> bool:
    """Whether a room has yet to say which collection it answers from, and must before its answer begins."""
    return key is not None and key.collections is not None and path in ASKING


def _check_scope(key: Key, method: str, path: str) -> None:
    if not key.may(needed(method, path)):
        raise _insufficient("This key may only read.")


def _check_collections(key: Key, path: str, query: QueryParams, default: str) -> None:
    if key.collections is None or path in UNBOUND or path.startswith("/v1/models/") or path in ASKING:
        return
    # All of them, as two readers may not agree on which of several counts.
    for name in query.getlist("collection") or [""]:
        if not key.covers(name or default):
            raise _not_covered(name or default)


def _check_local(headers: Headers, own: str) -> None:
    host = _host_of(f"//{headers.get('host', '')}")
    if not (is_loopback(host) or (host and host == own.lower())):
        raise Refusal(
            403,
            "host_not_allowed",
            "The Host header does not name this machine.",
            "Use http://127.0.0.1, or set [server] api_key to serve under other names.",
        )
    origin = headers.get("origin")
    if _is_embedded(headers) if origin is None else not is_loopback(_host_of(origin)):
        raise Refusal(
            403,
            "origin_not_allowed",
            "Pages of other sites may not ask this server.",
            "Set [server] api_key, and send it.",
        )


def _is_embedded(headers: Headers) -> bool:
    """Whether a browser says that another site's page asks for a part of itself: a picture, a script, a frame."""
    return headers.get("sec-fetch-site") == "cross-site" and not (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


def _insufficient(message: str) -> Refusal:
    return Refusal(403, "insufficient_scope", message, "`ragapp keys list` shows what each key may do.")


def _not_covered(collection: str) -> Refusal:
    return _insufficient(f"This key is not for the collection {collection!r}.")


def _route(scope: Scope) -> str:
    """The path without what stands in its places: a document's name may not outlive the document."""
    return str(getattr(scope.get("route"), "path", None) or "/".join(scope["path"].split("/")[:3]))


def _what(scope: Scope, default: str) -> str:
    """The collection, and the ids in the path; names that stand there are left out."""
    collection = QueryParams(scope["query_string"]).get("collection") or default
    return " ".join([collection, *filter(_ID.fullmatch, map(str, scope.get("path_params", {}).values()))])


def _host_of(url: str) -> str:
    """The host of a URL in small letters, without brackets and port; empty when there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

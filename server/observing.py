"""What is noticed of a request while it is answered, for those who log, count and trace it.

One request is one ``Seen``; it has an id, which the answer carries as X-Request-Id. A client may give its own. The
request at hand is found by a context variable, also in the thread in which its flow runs.

Sinks hear of everything in the order in which it happens, partly in other threads; they must be quick and never raise.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragapp.types import Event, Token

UNKNOWN = "(none)"  # the route of a request that no route is for
GONE = 499  # what nginx writes where a client left before it was answered

_ID = b"x-request-id"
_TRACE = (b"traceparent", b"tracestate")
_READ = frozenset({_ID, *_TRACE})
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,100}")


@dataclass(eq=False)
class Seen:
    """One request. ``route`` is the path's template: names in a path are nobody's business. ``seconds`` and ``bytes``
    are those of the whole answer, ``key`` the id of the key that asked, "" where none was needed."""

    id: str
    method: str
    trace: Mapping[str, str] = field(default_factory=dict)  # headers that name a client's trace
    sinks: Sequence[Sink] = ()
    started: float = field(default_factory=time.perf_counter)
    route: str = UNKNOWN
    status: int = GONE
    bytes: int = 0
    seconds: float = 0.0
    key: str = ""
    first_token: float | None = None  # seconds after which it came
    codes: list[str] = field(default_factory=list)  # of the errors that the client was told

    @property
    def age(self) -> float:
        return time.perf_counter() - self.started


class Sink(Protocol):
    """Somebody who wants to know."""

    def begun(self, seen: Seen) -> None: ...

    def heard(self, seen: Seen, event: Event) -> None:
        """An event of the flow that answers; called in the flow's thread, sometimes after the client has left.

        While it is the first token, ``seen.first_token`` is None.
        """
        ...

    def ended(self, seen: Seen) -> None: ...


_CURRENT: ContextVar[Seen | None] = ContextVar("ragapp_request", default=None)


def current() -> Seen | None:
    """The request that is being answered here, None outside of one."""
    return _CURRENT.get()


def heard(event: Event) -> None:
    """An event of the flow that answers the present request."""
    seen = _CURRENT.get()
    if seen is not None:
        for sink in seen.sinks:
            sink.heard(seen, event)
        if seen.first_token is None and isinstance(event, Token) and event.text:
            seen.first_token = seen.age


def failed(code: str) -> None:
    """The client of the present request is told an error."""
    seen = _CURRENT.get()
    if seen is not None:
        seen.codes.append(code)


class Observer:
    """ASGI middleware, the outermost: gives every request its id, and tells the sinks of it."""

    def __init__(self, app: ASGIApp, sinks: Sequence[Sink]) -> None:
        self._app = app
        self._sinks = sinks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        trace = {name.decode(): headers[name] for name in _TRACE if name in headers}
        seen = Seen(request_id(headers.get(_ID, "")), scope["method"], trace, self._sinks)
        scope.setdefault("state", {})["request_id"] = seen.id

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                message = {**message, "headers": [*message["headers"], (_ID, seen.id.encode())]}
            else:
                seen.bytes += len(message.get("body", b""))
            await send(message)

        with _watched_over(seen, scope):
            await self._app(scope, receive, watched)


def request_id(given: str) -> str:
    """The client's own id of a request where it is a sane one, else a new one."""
    return given if _SANE.fullmatch(given) else secrets.token_hex(8)


def route_of(scope: Scope) -> str:
    """The template of a request's path, known when it was answered."""
    template = getattr(scope.get("route"), "path", None)
    if template:
        return str(template)
    # A plain route does not say which it was; a path without places in it is its own template.
    return str(scope["path"]) if scope.get("endpoint") and not scope.get("path_params") else UNKNOWN


@contextmanager
def _watched_over(seen: Seen, scope: Scope) -> Iterator[None]:
    for sink in seen.sinks:
        sink.begun(seen)
    before = _CURRENT.set(seen)
    try:
        yield
    finally:
        _CURRENT.reset(before)
        key: Any = scope["state"].get("key")
        seen.key, seen.route, seen.seconds = key.id if key is not None else "", route_of(scope), seen.age
        for sink in seen.sinks:
            sink.ended(seen)

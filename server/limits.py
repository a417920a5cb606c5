"""How often one key may ask: a bucket of requests that fills up again at an even pace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragapp.errors import Overloaded
from ragapp.server.errors import ErrorTable

FREE = frozenset({"/", "/healthz", "/readyz"})  # and the window's files: none of them costs anything
WINDOW = "/web/"
MOST_BUCKETS = 10_000


@dataclass(slots=True)
class Bucket:
    """``left`` requests at the time ``at``."""

    left: float
    at: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """What somebody may still ask: ``wait_s`` until the next request, ``full_s`` until all of them are there again."""

    granted: bool
    limit: int
    left: int
    wait_s: float
    full_s: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As OpenAI names them."""
        return [
            (b"x-ratelimit-limit-requests", str(self.limit).encode()),
            (b"x-ratelimit-remaining-requests", str(self.left).encode()),
            (b"x-ratelimit-reset-requests", f"{self.full_s:.3f}s".encode()),
        ]


class Buckets:
    """``per_minute`` requests for each name, all at once or spread. For one thread."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._pace = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> Allowance:
        """One request of somebody's, if there is one."""
        now = self._clock()
        if name not in self._buckets and len(self._buckets) >= MOST_BUCKETS:
            self._forget(now)
        bucket = self._buckets.setdefault(name, Bucket(self._limit, now))
        bucket.left = min(self._limit, bucket.left + (now - bucket.at) * self._pace)
        bucket.at = now
        granted = bucket.left >= 1
        bucket.left -= granted
        wait = max(0.0, 1 - bucket.left) / self._pace
        return Allowance(granted, self._limit, int(bucket.left), wait, (self._limit - bucket.left) / self._pace)

    def _forget(self, now: float) -> None:
        """Drop the buckets that are full again, and where that is none, the one that was used least lately."""
        full = [name for name, each in self._buckets.items() if each.left + (now - each.at) * self._pace >= self._limit]
        for name in full or [min(self._buckets, key=lambda name: self._buckets[name].at)]:
            del self._buckets[name]


class RateLimit:
    """ASGI middleware, inside of the guard: refuses with 429 who asks too often."""

    def __init__(self, app: ASGIApp, per_minute: int, table: ErrorTable) -> None:
        self._app = app
        self._buckets = Buckets(per_minute) if per_minute else None
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._buckets is None or scope["type"] != "http" or _is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        allowance = self._buckets.take(_who(scope))

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *allowance.headers()]}
            await send(message)

        if allowance.granted:
            await self._app(scope, receive, told)
        else:
            await self._table.response(_too_often(allowance))(scope, receive, told)


def _is_free(path: str) -> bool:
    return path in FREE or path.startswith(WINDOW)


def _who(scope: Scope) -> str:
    """The key that asks, the address where none is needed."""
    key = scope.get("state", {}).get("key")
    if key is not None:
        return f"key {key.id}"
    return f"address {(scope.get('client') or ('',))[0]}"


def _too_often(allowance: Allowance) -> Overloaded:
    return Overloaded(
        f"More than {allowance.limit:,} requests in a minute.",
        "Wait as long as Retry-After says, or raise [server] requests_per_minute.",
        max(1, math.ceil(allowance.wait_s)),
    )

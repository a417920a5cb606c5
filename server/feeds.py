"""Feeds: what has changed, told over server-sent events to everybody who listens, for as long as they do.

A feed remembers *what* has changed and not how often, and says it at most five times a second: a slow client is told
less, and always the present state. So nothing waits for a client, and little is kept for one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ragapp.errors import Overloaded
from ragapp.server.lanes import Lane
from ragapp.server.sse import PATIENCE_S, PING

MOST = 32  # listeners of one collection
QUIET_S = 0.2  # between two tellings: five a second
BEAT_S = 10.0  # proxies close a connection that is silent for 30 to 60 seconds
LOOK_S = 1.0  # between two looks at what nobody tells


@dataclass(eq=False)
class Feed:
    """One listener. All but ``tell`` and ``end`` belongs to the event loop that made it."""

    loop: asyncio.AbstractEventLoop
    changed: dict[str, None] = field(default_factory=dict)  # in the order of the changes
    is_over: bool = False
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, what: str) -> None:
        """Something has changed; may be called from any thread."""
        self._call(self._mark, what)

    def end(self) -> None:
        """Let the listener go; may be called from any thread."""
        self._call(self._end)

    async def wait(self, seconds: float) -> None:
        """Wait until something has changed, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until the listener is to go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._left.wait()

    def take(self) -> list[str]:
        """What has changed since the last time, what changed first first."""
        found = list(self.changed)
        self.changed.clear()
        if not self.is_over:
            self._arrived.clear()
        return found

    def _mark(self, what: str) -> None:
        self.changed.pop(what, None)
        self.changed[what] = None
        self._arrived.set()

    def _end(self) -> None:
        self.is_over = True
        self._arrived.set()
        self._left.set()

    def _call(self, what: Callable[..., None], *about: str) -> None:
        with suppress(RuntimeError):  # the loop is closed, the server gone
            self.loop.call_soon_threadsafe(what, *about)


class Feeds:
    """Everybody who listens to one collection. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._feeds: set[Feed] = set()
        self.lane = Lane("feed", 2, MOST)
        self._closed = False

    def __len__(self) -> int:
        return len(self._feeds)

    def open(self) -> Feed:
        """A new listener, for the event loop that asks. Raises Overloaded when there are too many."""
        feed = Feed(asyncio.get_running_loop())
        with self._lock:
            if len(self._feeds) >= MOST:
                raise Overloaded(f"{MOST} listeners are here already.", "Close one, or ask again in a while.")
            self._feeds.add(feed)
            if self._closed:
                feed.end()
        return feed

    def close(self, feed: Feed) -> None:
        with self._lock:
            self._feeds.discard(feed)

    def tell(self, what: str) -> None:
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.tell(what)

    def end(self) -> None:
        """Let everybody go, at once, and everybody who comes later."""
        with self._lock:
            self._closed = True
            feeds = list(self._feeds)
        for feed in feeds:
            feed.end()


@dataclass(frozen=True)
class Script:
    """What a stream says: ``first`` at its beginning, then ``more(changed)`` for what has changed, a list that is
    empty when nothing has for LOOK_S seconds. Both give frames, and whether they were the last. They run in threads."""

    first: Callable[[], tuple[bytes, bool]]
    more: Callable[[Sequence[str]], tuple[bytes, bool]]


class FeedStream(Response):
    """A stream of server-sent events that follows a feed until its script, the client or the server ends it."""

    media_type = "text/event-stream"

    def __init__(self, feeds: Feeds, script: Script) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._feeds, self._script = feeds, script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        feed = self._feeds.open()
        watch = asyncio.create_task(_watch(receive, feed))
        try:
            with suppress(OSError):  # the client does not read; TimeoutError is one
                await self._follow(feed, send)
        finally:
            watch.cancel()
            self._feeds.close(feed)

    async def _follow(self, feed: Feed, send: Send) -> None:
        loop = asyncio.get_running_loop()
        frames, last = await self._feeds.lane.run(self._script.first)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _write(send, frames or PING)
        spoke = loop.time()
        while not (last or feed.is_over):
            await feed.wait(LOOK_S)
            if feed.is_over:
                break
            frames, last = await self._feeds.lane.run(self._script.more, feed.take())
            if not frames and loop.time() - spoke >= BEAT_S:
                frames = PING
            if frames:
                await _write(send, frames)
                spoke = loop.time()
            if not last:
                await feed.rest(QUIET_S)
        await _write(send, b"", more=False)


async def _watch(receive: Receive, feed: Feed) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    feed.end()


async def _write(send: Send, data: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await send({"type": "http.response.body", "body": data, "more_body": more})

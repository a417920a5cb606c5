"""Server-sent events, and the one bridge from a flow (a generator that blocks) to the event loop.

A flow has a thread to itself, because it must be closed by the thread that runs it: closing a generator from
another one raises ValueError while it executes. A client that leaves therefore sets a flag, which the thread looks at
whenever the flow hands it an event; a flow that is inside a long step is closed at the end of that step.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ragapp.errors import RagappError
from ragapp.server.errors import ErrorTable
from ragapp.server.gate import Gate
from ragapp.types import Done, Event

BEAT_S = 10.0  # proxies close a connection that is silent for 30 to 60 seconds
PATIENCE_S = 60.0  # a client that takes nothing for so long is gone, and must not keep its seat
AHEAD = 256  # events that a flow may be ahead of its client: enough for any burst, little to keep in memory

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

Start = Callable[[], Iterator[Event]]


class ClientGone(RagappError):
    """Nobody is left to read the answer."""


def frame(data: object) -> bytes:
    """One event with ``data`` as JSON.

    The JSON is plain ASCII: some clients cut lines at U+2028 and its like, and there must be none to be cut at.
    """
    return b"data: " + json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n\n"


class Relay:
    """One flow in a thread, read by the event loop that made it.

    The seat it sits on is free again when the flow has ended: not before, because until then the model is busy.
    """

    def __init__(self, start: Start, gate: Gate) -> None:
        """Raises Overloaded when there is no free seat; otherwise the flow is running."""
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._room = threading.Semaphore(AHEAD)
        # What follows belongs to the event loop.
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self._seat = gate.take(self.stop)
        try:
            self._seat.run(self._run)
        except RuntimeError:  # no more threads
            self._seat.free()
            raise

    async def read(self, beat: float | None = None) -> list[Event] | None:
        """The events that have come, at least one; none after ``beat`` seconds without any; None at the end.

        Raises what the flow raised, after its last event, or the reason for which it was stopped, at once.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(beat):
                await self._arrived.wait()
        if self._events:
            events = list(self._events)
            self._events.clear()
            if not self._ended:
                self._arrived.clear()
            self._room.release(len(events))
            return events
        if not self._ended:
            return []
        if self._error:
            raise self._error
        return None

    def stop(self, reason: RagappError) -> None:
        """End it: the reader gets ``reason`` now, the flow is closed when it next yields. For the event loop only."""
        self._stopped.set()
        self._room.release()  # the thread may be waiting for it
        if not self._ended:
            self._events.clear()
            self._end(reason)

    def _take(self, event: Event) -> None:
        if not self._ended:
            self._events.append(event)
            self._arrived.set()

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
            self._arrived.set()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._pump()
        except Exception as raised:  # noqa: BLE001 - it crosses to the event loop, which raises it
            error = raised
        except SystemExit:  # a flow's own affair: neither the thread nor the server ends with it
            error = RagappError("The flow ended without an answer.")
        finally:
            # Before the end is told: whoever has read [DONE] must find this seat free.
            self._seat.free()
            self._tell(self._end, error)

    def _pump(self) -> None:
        last: Event | None = None
        if self._stopped.is_set():
            return
        # The flow's generators keep `finally` blocks down to the model; leaving this block runs them, in this thread.
        with closing(_closable(self._start())) as events:
            for last in events:
                self._room.acquire()
                if self._stopped.is_set():
                    return
                self._tell(self._take, last)
        if not isinstance(last, Done):
            raise RagappError("The flow ended without an answer.")

    def _tell(self, what: Callable[[Any], None], about: Event | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(what, about)
        except RuntimeError:  # the loop is closed, the server gone
            self._stopped.set()


@asynccontextmanager
async def running(start: Start, gate: Gate, receive: Receive) -> AsyncIterator[Relay]:
    """A running flow that is stopped when the block is left, however that happens, or when the client leaves."""
    relay = Relay(start, gate)
    watch = asyncio.create_task(_watch(receive, relay))
    try:
        yield relay
    finally:
        watch.cancel()
        relay.stop(ClientGone("The request is over."))


async def _watch(receive: Receive, relay: Relay) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    relay.stop(ClientGone("The client has left."))


class Writer(Protocol):
    """What turns events into frames; ``b""`` where an event is not worth one."""

    def opening(self) -> bytes: ...

    def frames(self, event: Event) -> bytes: ...


class EventStream(Response):
    """A flow's events as they come. The status is sent with the first event, so errors before it have their own.

    An error after it becomes an error frame. The last frame is always ``[DONE]``, unless the client has left.
    """

    media_type = "text/event-stream"

    def __init__(self, start: Start, gate: Gate, writer: Writer, table: ErrorTable, beat: float = BEAT_S) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._start, self._gate, self._writer, self._table, self._beat = start, gate, writer, table, beat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with running(self._start, self._gate, receive) as relay:
                events = await relay.read()
                await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._write(send, self._writer.opening() + self._framed(events or []))
                await self._follow(relay, send)
        except ClientGone:
            return

    async def _follow(self, relay: Relay, send: Send) -> None:
        """Everything after the first events."""
        tail = DONE
        try:
            while (events := await relay.read(self._beat)) is not None:
                if data := self._framed(events) if events else PING:
                    await self._write(send, data)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - it is answered, and logged when it is a bug
            self._table.note(error)
            tail = frame(self._table.body(error)) + DONE
        await self._write(send, tail, more=False)

    def _framed(self, events: list[Event]) -> bytes:
        return b"".join(map(self._writer.frames, events))

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        await self._send(send, {"type": "http.response.body", "body": data, "more_body": more})

    async def _send(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await send(message)
        except OSError as error:  # TimeoutError is one
            raise ClientGone("The client does not read.") from error


def _closable(events: Iterator[Event]) -> Any:
    """The events as something that can be closed, whatever kind of iterator a flow returns."""
    return events if hasattr(events, "close") else (event for event in events)

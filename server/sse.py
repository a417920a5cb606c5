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
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from contextvars import copy_context
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ragapp.errors import Overloaded, RagappError
from ragapp.server import observing
from ragapp.server.errors import SERVER, ErrorTable, Refusal
from ragapp.server.gate import Gate, Seat
from ragapp.types import Done, Event

BEAT_S = 10.0  # proxies close a connection that is silent for 30 to 60 seconds
PATIENCE_S = 60.0  # a client that takes nothing for so long is gone, and must not keep its seat
AHEAD = 256  # events that a flow may be ahead of its client: enough for any burst, little to keep in memory

PING = b": ping\n\n"

# What the OpenAPI description says of each event of a stream.
EVENT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

Start = Callable[[], Iterator[T]]


class ClientGone(RagappError):
    """Nobody is left to read the answer."""


def frame(data: object, name: str = "", number: int | None = None) -> bytes:
    """One event with ``data`` as JSON; with the name of its kind and its number, where they are given.

    The JSON is plain ASCII: some clients cut lines at U+2028 and its like, and there must be none to be cut at.
    """
    head = f"id: {number}\n" if number is not None else ""
    head += f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


def complete(events: Iterator[Event]) -> Generator[Event, None, None]:
    """A flow's events, closed with this one. Raises RagappError when the flow ends without an answer."""
    last: Event | None = None
    with closing(_closable(events)) as each:
        for last in each:
            observing.heard(last)
            yield last
    if not isinstance(last, Done):
        raise RagappError("The flow ended without an answer.")


class Relay(Generic[T]):
    """One flow in a thread, read by the event loop that made it. What it passes on may be anything.

    Where no seat is free it waits for one, at ``position`` of the queue (0 when it does not wait), and costs no thread.
    The seat is free again when the flow has ended: not before, because until then the model is busy.
    """

    def __init__(self, start: Start[T], gate: Gate) -> None:
        """Raises Overloaded when there is neither a free seat nor a place in the queue."""
        self._start = start
        self._gate = gate
        # What is logged and counted in the flow's thread is this request's too.
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._room = threading.Semaphore(AHEAD)
        # From the flow's thread to the loop, which is woken once for all that has come until it looks.
        self._passed: deque[T] = deque()
        self._has_rung = False
        # What follows belongs to the event loop.
        self._events: deque[T] = deque()
        self._arrived = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seat = gate.take(self.stop, self._turn, self._moved)
        self.position = self._seat.position
        if self.position:
            self._timer = self._loop.call_later(gate.wait_seconds, lambda: self.stop(_waited(gate)))

    async def read(self, beat: float | None = None) -> list[T] | None:
        """The events that have come, at least one; none after ``beat`` seconds without any, or when the queue moved;
        None at the end.

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
            self._arrived.clear()
            return []
        if self._error:
            raise self._error
        return None

    def stop(self, reason: RagappError) -> None:
        """End it: the reader gets ``reason`` now, the flow is closed when it next yields. For the event loop only."""
        self._stopped.set()
        self._room.release()  # the thread may be waiting for it
        self._seat.withdraw()
        if not self._ended:
            self._events.clear()
            self._end(reason)

    def _pass(self, event: T) -> None:
        self._passed.append(event)
        if not self._has_rung:
            self._has_rung = True
            self._tell(self._take, None)

    def _take(self, _: None) -> None:
        self._has_rung = False  # before it is looked: what comes later rings again
        while self._passed:
            event = self._passed.popleft()
            if not self._ended:
                self._events.append(event)
                self._arrived.set()

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
            self._arrived.set()
            if self._timer:
                self._timer.cancel()

    def _turn(self, seat: Seat) -> None:
        """There is a seat; called by any thread."""
        self._tell(self._place, 0)
        try:
            seat.run(lambda: self._run(seat))
        except RuntimeError as error:  # no more threads
            seat.free()
            self._tell(self._end, error)

    def _moved(self, position: int) -> None:
        self._tell(self._place, position)

    def _place(self, position: int) -> None:
        if self._ended:
            return
        if self.position != position:
            self.position = position
            self._arrived.set()
        if not position:
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._gate.answer_seconds, self.stop, _took(self._gate))

    def _run(self, seat: Seat) -> None:
        error: Exception | None = None
        try:
            self._context.run(self._pump)
        except Exception as raised:  # noqa: BLE001 - it crosses to the event loop, which raises it
            error = raised
        except SystemExit:  # a flow's own affair: neither the thread nor the server ends with it
            error = RagappError("The flow ended without an answer.")
        finally:
            # Before the end is told: whoever has read [DONE] must find this seat free.
            seat.free()
            self._tell(self._end, error)

    def _pump(self) -> None:
        if self._stopped.is_set():
            return
        # The flow's generators keep `finally` blocks down to the model; leaving this block runs them, in this thread.
        with closing(_closable(self._start())) as events:
            for event in events:
                self._room.acquire()
                if self._stopped.is_set():
                    return
                self._pass(event)

    def _tell(self, what: Callable[[Any], None], about: T | Exception | int | None) -> None:
        try:
            self._loop.call_soon_threadsafe(what, about)
        except RuntimeError:  # the loop is closed, the server gone
            self._stopped.set()


@asynccontextmanager
async def running(start: Start[T], gate: Gate, receive: Receive) -> AsyncIterator[Relay[T]]:
    """A running flow that is stopped when the block is left, however that happens, or when the client leaves."""
    relay = Relay(start, gate)
    watch = asyncio.create_task(_watch(receive, relay))
    try:
        yield relay
    finally:
        watch.cancel()
        relay.stop(ClientGone("The request is over."))


async def _watch(receive: Receive, relay: Relay[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    relay.stop(ClientGone("The client has left."))


class Writer(Protocol[T_contra]):
    """What turns events into frames; ``b""`` where an event is not worth one."""

    def opening(self) -> bytes:
        """What comes before the first event."""
        ...

    def waiting(self, position: int) -> bytes:
        """The place in the queue, counted from 1; 0 when the wait is over."""
        ...

    def frames(self, event: T_contra) -> bytes: ...

    def failure(self, body: Mapping[str, Any]) -> bytes:
        """An error after the first event; ``body`` is its OpenAI-shaped object."""
        ...

    def ending(self) -> bytes:
        """What comes after everything, also after an error."""
        ...


class EventStream(Response, Generic[T]):
    """A flow's events as they come. The status is sent with the first event, so errors before it have their own; where
    there is no seat yet it is sent at once, and the place in the queue with it.

    An error after it becomes a frame of the writer's. The writer's ending is always sent, unless the client has left.
    """

    media_type = "text/event-stream"

    def __init__(self, start: Start[T], gate: Gate, writer: Writer[T], table: ErrorTable, beat: float = BEAT_S) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._start, self._gate, self._writer, self._table, self._beat = start, gate, writer, table, beat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with running(self._start, self._gate, receive) as relay:
                told = relay.position
                first = self._writer.waiting(told) if told else self._framed(await relay.read() or [])
                await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._write(send, self._writer.opening() + first)
                await self._follow(relay, send, told)
        except ClientGone:
            return

    async def _follow(self, relay: Relay[T], send: Send, told: int) -> None:
        """Everything after the first events; ``told`` is the place in the queue that the client knows."""
        tail = b""
        try:
            while (events := await relay.read(self._beat)) is not None:
                data, silent = b"", not events
                if relay.position != told:  # first, as it came first, and the writer may count
                    told, silent = relay.position, False
                    data = self._writer.waiting(told)
                data += PING if silent else self._framed(events)
                if data:
                    await self._write(send, data)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - it is answered, and logged when it is a bug
            self._table.note(error)
            tail = self._writer.failure(self._table.body(error))
        await self._write(send, tail + self._writer.ending(), more=False)

    def _framed(self, events: list[T]) -> bytes:
        return b"".join(map(self._writer.frames, events))

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        await self._send(send, {"type": "http.response.body", "body": data, "more_body": more})

    async def _send(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await send(message)
        except OSError as error:  # TimeoutError is one
            raise ClientGone("The client does not read.") from error


def _waited(gate: Gate) -> Overloaded:
    return Overloaded(
        f"No seat became free in {gate.wait_seconds:g} seconds.",
        "Try again later, or raise [server] seats.",
        gate.retry_after(),
    )


def _took(gate: Gate) -> Refusal:
    return Refusal(
        504,
        "answer_timeout",
        f"The answer took longer than {gate.answer_seconds:g} seconds.",
        "Ask less at once, or raise [server] answer_seconds.",
        kind=SERVER,
    )


def _closable(events: Iterator[T]) -> Any:
    """The events as something that can be closed, whatever kind of iterator a flow returns."""
    return events if hasattr(events, "close") else (event for event in events)

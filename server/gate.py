"""The gate: seats for answers that are being written, and the largest body that is read.

A full house answers 429 at once instead of queueing: a client that is told to come back can go elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragapp.errors import Overloaded, RagappError
from ragapp.server.errors import SERVER, Refusal


class Seat:
    """One place in the house, and a thread to work in. ``leave`` asks who sits there to go; only that one frees it."""

    def __init__(self, gate: Gate, leave: Callable[[RagappError], None]) -> None:
        self._gate = gate
        self.leave = leave

    def run(self, job: Callable[[], None]) -> None:
        """Run a job, which must not raise, in one of the house's threads."""
        self._gate.work(job)

    def free(self) -> None:
        """Give the seat back, once or more often; may be called from any thread."""
        self._gate.drop(self)


class Gate:
    """``seats`` answers at once. Safe to share between threads.

    There are as many threads as seats were ever taken together, and they stay: a library opens its database once per
    thread, which costs more than a search. They are daemons, so a model that hangs does not hold up the process.
    """

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self._taken: set[Seat] = set()
        self._closed: RagappError | None = None
        self._changed = threading.Condition()
        self._threads = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    @property
    def taken(self) -> int:
        return len(self._taken)

    def take(self, leave: Callable[[RagappError], None]) -> Seat:
        """A free seat, now. Raises Overloaded when there is none, and 503 when the house is closing."""
        with self._changed:
            if self._closed:
                raise self._closed
            if len(self._taken) >= self.seats:
                raise Overloaded(
                    f"All {self.seats} seats are taken.", "Try again in a moment, or raise [server] seats."
                )
            seat = Seat(self, leave)
            self._taken.add(seat)
            return seat

    def drop(self, seat: Seat) -> None:
        with self._changed:
            self._taken.discard(seat)
            self._changed.notify_all()

    def work(self, job: Callable[[], None]) -> None:
        """Run the job of a taken seat. Raises RuntimeError when the system gives no thread."""
        with self._changed:
            # A seat is freed by a thread that is about to be idle, so there is one for every seat that is taken.
            if self._threads < len(self._taken):
                threading.Thread(target=self._serve, name="ragapp-answer", daemon=True).start()
                self._threads += 1
        self._jobs.put(job)

    def _serve(self) -> None:
        while job := self._jobs.get():
            job()
            del job  # nothing of an answer is kept while there is none

    def close(self) -> None:
        """Let nobody in any more and ask everybody to leave; the threads end with their last job."""
        closing = Refusal(503, "shutting_down", "The server is shutting down.", "Try again later.", kind=SERVER)
        with self._changed:
            if self._closed:
                return
            self._closed = closing
            sitting = list(self._taken)
            for _ in range(self._threads):
                self._jobs.put(None)
        for seat in sitting:
            seat.leave(closing)

    def wait_empty(self, seconds: float) -> bool:
        """Wait until all seats are free; False when they still are not after ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._taken, seconds)


class BodyLimit:
    """ASGI middleware: a body of more than ``limit`` bytes is refused with 413 before it is read whole.

    It raises where the body is read, so that the refusal is answered by the error table like any other.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        seen = int(declared) if declared.isdigit() else 0
        self_told = seen > 0

        async def limited() -> Message:
            nonlocal seen
            self._check(seen)
            message = await receive()
            if not self_told:
                seen += len(message.get("body", b""))
                self._check(seen)
            return message

        await self._app(scope, limited, send)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise HTTPException(413, f"The request is larger than the {self._limit:,} bytes that are read")

"""The gate: seats for answers that are being written, the queue before them, and the largest body that is read.

Who finds no free seat waits in the queue, in order, and is told the place; when the queue is full too, the answer is
429 with an estimate of when to come back. Waiting costs no thread, and a place is free the moment somebody leaves it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from statistics import median
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragapp.errors import Overloaded, RagappError
from ragapp.server.errors import SERVER, Refusal
from ragapp.server.lanes import Lane

if TYPE_CHECKING:
    from ragapp.config import ServerTable

REMEMBERED = 50  # answers whose time says how long the next one will take
LONGEST_RETRY_S = 600
SEARCHERS = 8  # most of their time they wait for the embedder, which an ingest shares with them
SEARCHES_WAITING = 100


class Seat:
    """A place in the house with a thread to work in, or, while ``position`` is not 0, a place in the queue before it.

    ``leave`` asks who sits or waits there to go; only that one frees it.
    """

    def __init__(
        self,
        gate: Gate,
        leave: Callable[[RagappError], None],
        turn: Callable[[Seat], None] | None,
        moved: Callable[[int], None] | None,
    ) -> None:
        self._gate = gate
        self.leave = leave
        self.turn = turn
        self.moved = moved
        self.position = 0
        self.since = time.monotonic()

    def run(self, job: Callable[[], None]) -> None:
        """Run a job, which must not raise, in one of the house's threads."""
        self._gate.work(job)

    def free(self) -> None:
        """Give the seat or the place in the queue back, once or more often; may be called from any thread."""
        self._gate.drop(self)

    def withdraw(self) -> None:
        """Give a place in the queue back; a seat stays taken. May be called from any thread."""
        self._gate.drop(self, seated=False)


class Gate:
    """``seats`` answers at once, and ``queue`` more that wait for one. Safe to share between threads.

    There are as many threads as seats were ever taken together, and they stay: a library opens its database once per
    thread, which costs more than a search. They are daemons, so a model that hangs does not hold up the process.
    ``wait_seconds`` and ``answer_seconds`` are how long somebody may wait, and sit; who sits down keeps the time.
    """

    def __init__(self, seats: int, queue: int = 0, wait_seconds: float = 120.0, answer_seconds: float = 900.0) -> None:
        self.seats = seats
        self.queue = queue
        self.wait_seconds = wait_seconds
        self.answer_seconds = answer_seconds
        self.searches = Lane("search", SEARCHERS, SEARCHES_WAITING)  # no model writes: they take no seat
        self._taken: set[Seat] = set()
        self._waiting: list[Seat] = []
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self._closed: RagappError | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._threads = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    @classmethod
    def of(cls, settings: ServerTable) -> Gate:
        return cls(settings.seats, settings.queue, settings.wait_seconds, settings.answer_seconds)

    @property
    def taken(self) -> int:
        return len(self._taken)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(
        self,
        leave: Callable[[RagappError], None],
        turn: Callable[[Seat], None] | None = None,
        moved: Callable[[int], None] | None = None,
    ) -> Seat:
        """A free seat now, or a place in the queue for who gives ``turn``.

        ``turn(seat)`` is called when there is a seat, at once or later; ``moved(position)`` whenever the queue has
        moved. Both are called by any thread, and must not wait. Raises Overloaded when there is no room, and 503 when
        the house is closing.
        """
        with self._changed:
            if self._closed:
                raise self._closed
            seat = Seat(self, leave, turn, moved)
            if len(self._taken) < self.seats:
                self._sit(seat)
            elif turn is None or len(self._waiting) >= self.queue:
                raise self._full()
            else:
                self._waiting.append(seat)
                seat.position = len(self._waiting)
            return seat

    def drop(self, seat: Seat, *, seated: bool = True) -> None:
        with self._changed:
            if seat in self._waiting:
                self._waiting.remove(seat)
            elif seated and seat in self._taken:
                self._taken.discard(seat)
                self._times.append(time.monotonic() - seat.since)
            else:
                return
            while self._waiting and len(self._taken) < self.seats:
                self._sit(self._waiting.pop(0))
            for place, waiting in enumerate(self._waiting, 1):
                if waiting.position != place:
                    waiting.position = place
                    if waiting.moved:
                        waiting.moved(place)
            self._changed.notify_all()

    def work(self, job: Callable[[], None]) -> None:
        """Run the job of a taken seat. Raises RuntimeError when the system gives no thread."""
        with self._changed:
            # A seat is freed by a thread that is about to be idle, so there is one for every seat that is taken.
            if self._threads < len(self._taken):
                threading.Thread(target=self._serve, name="ragapp-answer", daemon=True).start()
                self._threads += 1
            self._jobs.put(job)

    def retry_after(self) -> int:
        """Whole seconds after which a seat will probably have become free: how long answers took, shared by the seats.

        While none has ended it is as long as the oldest one has been at work.
        """
        with self._changed:
            now = time.monotonic()
            usual = median(self._times) if self._times else max((now - seat.since for seat in self._taken), default=0.0)
            return min(max(1, math.ceil(usual / self.seats)), LONGEST_RETRY_S)

    def shut(self) -> None:
        """Let nobody in any more and send away who waits; who sits may stay."""
        with self._changed:
            if self._closed:
                return
            self._closed = closing()
            waiting, self._waiting = self._waiting, []
        for seat in waiting:
            seat.leave(self._closed)

    def close(self) -> None:
        """Let nobody in any more and ask everybody to leave; the threads end with their last job."""
        self.shut()
        with self._changed:
            if self._ended:
                return
            self._ended = True
            sitting = list(self._taken)
            for _ in range(self._threads):
                self._jobs.put(None)
        for seat in sitting:
            seat.leave(closing())

    def wait_empty(self, seconds: float) -> bool:
        """Wait until all seats are free; False when they still are not after ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._taken, seconds)

    def _sit(self, seat: Seat) -> None:
        seat.position = 0
        seat.since = time.monotonic()
        self._taken.add(seat)
        if seat.turn:
            seat.turn(seat)

    def _full(self) -> Overloaded:
        if not self.queue:
            return Overloaded(
                f"All {self.seats} seats are taken.",
                "Try again in a moment, or raise [server] seats.",
                self.retry_after(),
            )
        return Overloaded(
            f"All {self.seats} seats are taken, and {len(self._waiting)} requests wait already.",
            "Try again in a moment, or raise [server] seats or queue.",
            self.retry_after(),
        )

    def _serve(self) -> None:
        while job := self._jobs.get():
            job()
            del job  # nothing of an answer is kept while there is none


def closing() -> Refusal:
    """What everybody is told when the server ends."""
    return Refusal(503, "shutting_down", "The server is shutting down.", "Try again later.", kind=SERVER)


COUNTING = frozenset({("POST", "/v1/documents")})  # requests whose rooms count the body by themselves


class BodyLimit:
    """ASGI middleware: a body of more than ``limit`` bytes is refused with 413 before it is read whole.

    Uploads are not: they have a limit of their own (server/uploads.py), and are never held whole. It raises where the
    body is read, so that the refusal is answered by the error table like any other.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope.get("method"), scope.get("path")) in COUNTING:
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

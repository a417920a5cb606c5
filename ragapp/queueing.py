"""Requests for one model: who waits, who is being written, and the thread that writes.

Readers and the writing thread share ``Request`` objects. A request's pieces go through a queue of its own, so a reader
that is slow, or gone, holds up nobody. The thread lives while there is something to write and ends with the last.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from ragapp.sampling import Options, Sampler
from ragapp.streaming import Stops, Text

__all__ = ["Line", "Request"]

_PATIENCE_S = 10.0  # for the step that is being computed when the program ends


class Request:
    """One answer that is wanted: ``prompt`` and ``ends`` are tokens, ``most`` is how many are written at most."""

    def __init__(self, prompt: list[int], options: Options, most: int, ends: Sequence[int], text: Text) -> None:
        self.prompt, self.options, self.most, self.ends = prompt, options, most, frozenset(ends)
        self.text, self.stops, self.sampler = text, Stops(options.stop), Sampler(options)
        self.pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None is the end
        self.halt, self.done = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.arrived = time.monotonic()
        self.started = self.first = self.finished = 0.0
        self.cached = self.guessed = self.accepted = 0  # tokens

    @property
    def written(self) -> list[int]:
        return self.text.ids

    @property
    def over(self) -> bool:
        """Whether no further token is wanted."""
        full = len(self.written) >= self.most
        return full or self.halt.is_set() or self.stops.hit or (bool(self.written) and self.written[-1] in self.ends)

    @property
    def reason(self) -> str:
        ended = self.stops.hit or (bool(self.written) and self.written[-1] in self.ends)
        return "stop" if ended or len(self.written) < self.most else "length"

    @property
    def seconds(self) -> float:
        """Those of the model, the prompt's included, and not those of the queue or the reader."""
        return self.finished - self.started

    def put(self, token: int) -> None:
        """Another token was written; its text leaves as soon as its characters are whole."""
        if not self.written:
            self.first = time.monotonic()
        self._pass(self.text.feed(token))

    def finish(self, error: Exception | None = None) -> None:
        """The last of it; a second call does nothing."""
        if self.done.is_set():
            return
        self.finished = time.monotonic()
        self.error = error
        try:
            if error is None:
                self._pass(self.text.end(), end=True)
        except Exception as raised:  # noqa: BLE001 - whatever a tokenizer raises, the reader must hear of the end
            self.error = raised
        finally:
            self.done.set()
            self.pieces.put(None)

    def _pass(self, text: str, *, end: bool = False) -> None:
        if passed := self.stops.feed(text, end=end):
            self.pieces.put(passed)


class Line:
    """First come, first served; ``work(line)`` runs in a thread and calls ``take`` between tokens until it is None."""

    def __init__(self, work: Callable[[Line], None], name: str) -> None:
        self._work, self._name = work, name
        self._lock = threading.Lock()
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._thread: threading.Thread | None = None
        self._alive = 0.0  # monotonic time of the last sign of life
        _LINES.add(self)

    def submit(self, request: Request) -> None:
        """Line up. Raises RuntimeError when no thread can be started."""
        with self._lock:
            self._waiting.append(request)
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self.touch()
            try:
                self._thread.start()
                _THREADS.add(self._thread)
            except RuntimeError:
                self._thread = None
                self._waiting.remove(request)
                raise

    def take(
        self, most: int, fits: Callable[[Request, Sequence[Request]], bool] = lambda _, __: True
    ) -> list[Request] | None:
        """The next requests, up to ``most``; None, and the thread must end, when there is nothing to do at all.

        ``fits`` is given a request, and those that are running or just taken. One that does not fit, as things are,
        lets those behind it wait too, unless nothing else is being written.
        """
        self.touch()
        taken: list[Request] = []
        with self._lock:
            gone = [request for request in self._waiting if request.halt.is_set()]
            for request in gone:
                self._waiting.remove(request)
            while self._waiting and len(taken) < most and (not self._running or fits(self._waiting[0], self._running)):
                taken.append(self._waiting.popleft())
                taken[-1].started = time.monotonic()
                self._running.append(taken[-1])
            idle = not self._running
            if idle:
                self._thread = None
        for request in gone:
            request.finish()
        return None if idle else taken

    def drop(self, request: Request, error: Exception | None = None) -> None:
        """A request has been written, was halted or has failed."""
        with self._lock:
            self._running.remove(request)
        request.finish(error)

    def place(self, request: Request) -> int:
        """How many answers come before it and itself, of those that wait; 0 when it waits no longer."""
        with self._lock:
            return self._waiting.index(request) + 1 if request in self._waiting else 0

    def touch(self) -> None:
        """A sign of life: a token, or a part of a prompt."""
        self._alive = time.monotonic()

    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._alive

    def halt(self) -> None:
        """Halt all requests."""
        with self._lock:
            for request in (*self._running, *self._waiting):
                request.halt.set()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._work(self)
        except Exception as raised:  # noqa: BLE001 - it goes to the readers, who translate and raise it
            error = raised
        finally:
            # Only after an accident is anybody left; a reader must not wait for a thread that is no more.
            with self._lock:
                left: list[Request] = []
                if self._thread is threading.current_thread():
                    left, self._running = [*self._running, *self._waiting], []
                    self._waiting.clear()
                    self._thread = None
            for request in left:
                request.finish(error or RuntimeError("the thread that writes has ended"))


_LINES: weakref.WeakSet[Line] = weakref.WeakSet()
# A thread outlives what its line knows of it: it frees tensors when nothing is left to write, and its model when nobody
# else holds that any more.
_THREADS: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """At Python's end: a thread that is inside torch when Python takes itself apart would end the program by abort."""
    for line in list(_LINES):
        line.halt()
    until = time.monotonic() + _PATIENCE_S
    for thread in list(_THREADS):
        thread.join(max(0.0, until - time.monotonic()))

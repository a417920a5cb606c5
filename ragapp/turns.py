"""Turns at machines that serve one at a time: who waits for an answer goes before work that nobody watches."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from itertools import count
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

PAUSE_S = 1.0  # how long after somebody has come another of the same rank is expected
PATIENCE_S = 1.0  # of waiting that make up for one rank: under a full load an ingest would else stand still


class Rank(IntEnum):
    """Who goes first."""

    QUESTION = 0  # a search: a moment's work that somebody waits for
    ANSWER = 1  # longer work on the way to an answer
    INGEST = 2  # work in the background


class Turns(Generic[T]):
    """Hands machines from one to the next: by rank, and within a rank in the order in which they came.

    Who has waited goes before a better rank in the end: ``PATIENCE_S`` seconds are worth as much as one rank.
    Of several machines one is kept free for a better rank that has come of late, as none can be taken away again. A
    plain lock or queue would not do: who gives a machine back and asks again at once has it before a sleeper wakes.
    """

    def __init__(self, machines: Iterable[T]) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._idle = list(machines)
        self._many = len(self._idle) > 1
        self._waiting: list[tuple[float, int, Rank, SimpleQueue[T]]] = []
        self._came = dict.fromkeys(Rank, (float("-inf"), float("-inf")))  # when the last two of each rank came

    @contextmanager
    def taken(self, rank: Rank) -> Iterator[T]:
        """A machine, for as long as the block lasts; waits for the turn."""
        machine = self._next(rank)
        try:
            yield machine
        finally:
            self._hand_over(machine)

    def is_sought(self, rank: Rank) -> bool:
        """Whether anybody of a better rank has come within the last second: long work should be cut up then.

        For an answer it takes two questions: it has begun with one itself.
        """
        since = time.monotonic() - PAUSE_S
        return any(
            came[0 if rank is Rank.ANSWER else 1] > since for better, came in self._came.items() if better < rank
        )

    def _next(self, rank: Rank) -> T:
        turn: SimpleQueue[T] = SimpleQueue()
        with self._lock:
            now = time.monotonic()
            self._came[rank] = self._came[rank][1], now
            heapq.heappush(self._waiting, (now + rank * PATIENCE_S, next(self._numbers), rank, turn))
            self._serve()
        try:
            return turn.get()
        except KeyboardInterrupt:
            self._forgo(turn)
            raise

    def _forgo(self, turn: SimpleQueue[T]) -> None:
        """Wait no longer; what was handed over meanwhile is given back."""
        with self._lock:
            self._waiting = [each for each in self._waiting if each[-1] is not turn]
            heapq.heapify(self._waiting)
            with suppress(Empty):
                self._idle.append(turn.get_nowait())
            self._serve()

    def _hand_over(self, machine: T) -> None:
        with self._lock:
            self._idle.append(machine)
            self._serve()

    def _serve(self) -> None:
        # Nobody waits for ever: whoever has come to the front lets nobody by, so that two machines will be idle there.
        while self._waiting and self._idle and not self._is_kept(self._waiting[0][2]):
            heapq.heappop(self._waiting)[-1].put(self._idle.pop())

    def _is_kept(self, rank: Rank) -> bool:
        return self._many and len(self._idle) == 1 and self.is_sought(rank)

"""Turns at machines that serve one at a time: who waits for an answer goes before work that nobody watches."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import count
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

PAUSE_S = 1.0  # how long after somebody has come another of the same rank is expected


class Rank(IntEnum):
    """Who goes first."""

    QUESTION = 0  # a search: a moment's work that somebody waits for
    ANSWER = 1  # longer work on the way to an answer
    INGEST = 2  # work in the background


class Turns(Generic[T]):
    """Hands machines from one to the next: by rank, and within a rank in the order in which they came.

    Of several machines one is kept free for a better rank that has come of late, as none can be taken away again. A
    plain lock or queue would not do: who gives a machine back and asks again at once has it before a sleeper wakes.
    """

    def __init__(self, machines: Iterable[T]) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._idle = list(machines)
        self._many = len(self._idle) > 1
        self._waiting: list[tuple[Rank, int, SimpleQueue[T]]] = []
        self._came = dict.fromkeys(Rank, float("-inf"))

    @contextmanager
    def taken(self, rank: Rank) -> Iterator[T]:
        """A machine, for as long as the block lasts; waits for the turn."""
        machine = self._next(rank)
        try:
            yield machine
        finally:
            self._hand_over(machine)

    def is_sought(self, rank: Rank) -> bool:
        """Whether anybody of a better rank has come within the last second: long work should be cut up then."""
        return time.monotonic() - max(self._came[better] for better in Rank if better < rank) < PAUSE_S

    def _next(self, rank: Rank) -> T:
        with self._lock:
            self._came[rank] = time.monotonic()
            turn: SimpleQueue[T] = SimpleQueue()
            heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
            self._serve()
        return turn.get()

    def _hand_over(self, machine: T) -> None:
        with self._lock:
            self._idle.append(machine)
            self._serve()

    def _serve(self) -> None:
        # Nobody waits for ever: whoever gives a machine back comes by here, and then there are two to be had.
        while self._waiting and self._idle and not self._is_kept(self._waiting[0][0]):
            heapq.heappop(self._waiting)[2].put(self._idle.pop())

    def _is_kept(self, rank: Rank) -> bool:
        return self._many and len(self._idle) == 1 and rank > Rank.QUESTION and self.is_sought(rank)

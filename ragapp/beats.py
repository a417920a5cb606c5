"""Work in a thread whose reader is never stuck: while nothing comes, it is given None about twice a second."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ragapp.errors import ModelError

T = TypeVar("T")

BEAT_S = 0.5


class Beats(Generic[T]):
    """Runs ``work(put, halt)`` in a thread and yields what it puts; None stands for half a second without anything.

    An exception of the work is raised to the reader, and ModelError where the system gives no thread. ``close`` sets
    ``halt``, calls ``stop`` (which shall wake a work that waits for something else) and gives the thread ``patience``
    seconds to end; a daemon thread, it holds up nobody's exit. Iterate once.
    """

    def __init__(
        self,
        work: Callable[[Callable[[T], None], threading.Event], None],
        stop: Callable[[], None] = lambda: None,
        *,
        name: str,
        patience: float = 5.0,
    ) -> None:
        self._work, self._stop, self._patience = work, stop, patience
        self._queue: queue.SimpleQueue[tuple[str, T | None]] = queue.SimpleQueue()
        self._error: Exception | None = None
        self.halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __iter__(self) -> Iterator[T | None]:
        try:
            self._thread.start()
        except RuntimeError as error:
            raise ModelError(f"No thread could be started: {error}.", "Close other programs.") from error
        while True:
            try:
                kind, item = self._queue.get(timeout=BEAT_S)
            except queue.Empty:
                yield None
                continue
            if kind == "end":
                break
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.halt.set()
        if self._thread.is_alive():
            self._stop()
            self._thread.join(self._patience)

    def _run(self) -> None:
        try:
            self._work(lambda item: self._queue.put(("item", item)), self.halt)
        except Exception as error:  # noqa: BLE001 - it crosses to the reader's thread and is raised there
            self._error = error
        finally:
            self._queue.put(("end", None))

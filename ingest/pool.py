"""Files read ahead by worker processes, as many as it takes to keep the embedder busy."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.scan import Source
from ragapp.ingest.writer import begin, finish

AHEAD = 3  # results that wait for whoever takes them: documents are large
HUNGER = 0.3  # seconds without a result after which one more worker is started

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Results of ``read(process, source)`` for all sources, in the order in which they are ready.

    One worker is started at first; another one each time that ``take`` has to wait, up to ``workers``: PDFs with text
    are read faster than they are embedded, scans and office files are not. There are no more results once
    ``cancelled()`` is true, which is asked by the thread that takes.
    """

    def __init__(
        self,
        read: Callable[[ReadingProcess, Source], Item],
        sources: Sequence[Source],
        settings: Settings,
        workers: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._read = read
        self._settings = settings
        self._cancelled = cancelled
        self._todo: queue.SimpleQueue[Source] = queue.SimpleQueue()
        for source in sources:
            self._todo.put(source)
        self._left = len(sources)
        # Not one queue.Queue: Ctrl-C in the middle of it may leave it locked for ever (writer.py).
        self._ready: queue.SimpleQueue[tuple[Source, Item] | BaseException] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # an item for each result that may still wait
        for _ in range(AHEAD):
            self._room.put(None)
        self._stopped = False
        self._workers = min(workers, len(sources))
        self._running: list[tuple[threading.Thread, ReadingProcess]] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Start; at the end of the block every worker is gone, in the middle of a file if need be."""
        try:
            self._start_worker()
            yield
        finally:
            self._stopped = True
            for _, process in self._running:
                self._room.put(None)
                process.close()
            for thread, _ in self._running:
                finish(thread)

    def take(self, *, wait: bool) -> tuple[Source, Item] | None:
        """The next result; None when there are no more, or none yet and ``wait`` is false."""
        if not self._left or self._cancelled():
            return None
        found: tuple[Source, Item] | BaseException | None
        try:
            found = self._ready.get_nowait()
        except queue.Empty:
            found = self._wait() if wait else None
        if found is None:
            return None
        self._room.put(None)
        if isinstance(found, BaseException):
            raise found
        self._left -= 1
        return found

    def _wait(self) -> tuple[Source, Item] | BaseException | None:
        while not self._cancelled():
            try:
                return self._ready.get(timeout=HUNGER)
            except queue.Empty:
                if len(self._running) < self._workers and not self._todo.empty():
                    self._start_worker()
        return None

    def _start_worker(self) -> None:
        process = ReadingProcess(self._settings)
        thread = threading.Thread(target=self._work, args=(process,), name="ragapp-read", daemon=True)
        self._running.append((thread, process))
        process.start()
        begin(thread)

    def _work(self, process: ReadingProcess) -> None:
        try:
            while not self._stopped:
                source = self._todo.get_nowait()
                self._put((source, self._read(process, source)))
        except queue.Empty:
            return
        except BaseException as error:  # noqa: BLE001  carried to whoever takes, which raises it
            self._put(error)
        finally:
            process.stop()

    def _put(self, item: tuple[Source, Item] | BaseException) -> None:
        if not self._stopped:
            self._room.get()
            self._ready.put(item)
